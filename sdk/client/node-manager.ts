/**
 * The node manager as all connections of this process see it: one monitor stream and one gate for each url and client
 * name, however many connections there are (many streams on one HTTP/2 session would end it when cancelled together).
 */
import { systemClock } from "../clock.js";
import { type Connection, type ConnectionEvent, ConnectionEventType, MonitorScopeSelector, State } from "../gen/connection.js";
import { isStale } from "../monitor/stale.js";
import { pause } from "../pause.js";
import { Code, statusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { Dialer } from "../transport/dial.js";
import { backoffMs } from "./backoff.js";
import { createGate, type Gate } from "./gate.js";
import { createSilence, type Silence } from "./silence.js";

/** What the monitor says about one connection. */
export type Report =
  | { readonly kind: "control-lost" }
  | { readonly kind: "control-back"; readonly connection: Connection | undefined }
  | { readonly kind: "shown"; readonly connection: Connection }
  | { readonly kind: "deleted"; readonly connection: Connection };

export interface Watch {
  /**
   * The connection as the node manager shows it in its first message, undefined if it does not know it. Settles when
   * the stream is up, or at once when it already is.
   */
  readonly first: Promise<Connection | undefined>;
  /** The connection as the node manager shows it now; undefined if it does not know it, or cannot be heard. */
  shown(): Connection | undefined;
  stop(): void;
}

export interface NodeManager {
  readonly gate: Gate;
  readonly silence: Silence;
  /** Reports about the connection with this id in our segment of the path. @throws ALREADY_EXISTS it is watched */
  watch(id: string, report: (report: Report) => void): Watch;
}

/** Requests under way to one node manager from one process. */
const maxUnderWay = 16;
/** A first message with so many connections may be followed by another one, within the pause. */
const batch = 100;
const batchPauseMs = 50;
/** How long the monitor stays away at most before it is tried again. */
const monitorBackoff = { firstMs: 20, ceilingMs: 250 };

const known = new WeakMap<Dialer, Map<string, NodeManager>>();

/** The same object for the same dialer, url and name. */
export function nodeManagerAt(dialer: Dialer, url: string, name: string, log: Log): NodeManager {
  let ofDialer = known.get(dialer);
  if (ofDialer === undefined) {
    ofDialer = new Map();
    known.set(dialer, ofDialer);
  }
  const key = `${name} ${url}`;
  const old = ofDialer.get(key);
  if (old !== undefined) return old;
  const forget = (): void => void ofDialer.delete(key);
  const made = createNodeManager({ dialer, url, name, log, forget });
  ofDialer.set(key, made);
  return made;
}

interface Options {
  readonly dialer: Dialer;
  readonly url: string;
  readonly name: string;
  readonly log: Log;
  /** Called when nobody watches any more. */
  readonly forget: () => void;
}

interface Watcher {
  readonly report: (report: Report) => void;
  readonly first: (connection: Connection | undefined) => void;
}

function createNodeManager(options: Options): NodeManager {
  const watchers = new Map<string, Watcher>();
  let stream: AbortController | undefined;
  /** The connections of the stream that is up, by our id; undefined = it is not up. */
  let shown: Map<string, Connection> | undefined;
  /** The first message may come in several; this is armed while more may follow. */
  let moreMayFollow: NodeJS.Timeout | undefined;
  let unwatchable = false;

  function hear(event: ConnectionEvent): void {
    const seen = Object.values(event.connections).flatMap((connection) => {
      const id = ownId(connection, options.name);
      return id === undefined ? [] : [{ id, connection }];
    });
    switch (event.type) {
      case ConnectionEventType.INITIAL_STATE_TRANSFER:
        shown ??= new Map();
        for (const { id, connection } of seen) {
          shown.set(id, connection);
          watchers.get(id)?.first(connection);
          watchers.get(id)?.report({ kind: "control-back", connection });
        }
        clearTimeout(moreMayFollow);
        if (seen.length < batch) initialDone();
        else moreMayFollow = setTimeout(initialDone, batchPauseMs);
        break;
      case ConnectionEventType.DELETE:
        for (const { id, connection } of seen) {
          shown?.delete(id);
          watchers.get(id)?.report({ kind: "deleted", connection });
        }
        break;
      default:
        for (const { id, connection } of seen) {
          shown?.set(id, connection);
          watchers.get(id)?.report({ kind: "shown", connection });
        }
    }
  }

  /** Those the node manager has not shown are unknown to it. */
  function initialDone(): void {
    moreMayFollow = undefined;
    for (const [id, watcher] of [...watchers]) {
      if (shown === undefined || shown.has(id)) continue;
      watcher.first(undefined);
      watcher.report({ kind: "control-back", connection: undefined });
    }
  }

  async function follow(signal: AbortSignal): Promise<void> {
    for (let failures = 1; !signal.aborted; failures += 1) {
      const problem = await readStream(options, signal, (event) => {
        failures = 0;
        hear(event);
      });
      clearTimeout(moreMayFollow);
      moreMayFollow = undefined;
      if (signal.aborted) return;
      if (shown !== undefined) {
        shown = undefined;
        for (const watcher of [...watchers.values()]) watcher.report({ kind: "control-lost" });
      }
      if (problem === Code.UNIMPLEMENTED) {
        options.log.warn("the node manager has no monitor: faults are found by the probe and by refreshes alone", {
          url: options.url,
        });
        unwatchable = true;
        for (const watcher of watchers.values()) watcher.first(undefined);
        return;
      }
      await pause(backoffMs(monitorBackoff, Math.max(failures, 1), Math.random()), signal);
    }
  }

  return {
    gate: createGate(maxUnderWay),
    silence: createSilence(systemClock),
    watch(id, report) {
      if (watchers.has(id)) {
        const text = `connection id ${id} of client ${options.name} is in use in this process; close that connection first`;
        throw statusError(Code.ALREADY_EXISTS, text);
      }
      let settle = (_connection: Connection | undefined): void => {};
      const first = new Promise<Connection | undefined>((resolve) => {
        settle = resolve;
      });
      const watcher: Watcher = { report, first: settle };
      watchers.set(id, watcher);
      if (stream === undefined) {
        stream = new AbortController();
        void follow(stream.signal);
      } else if (unwatchable || (shown !== undefined && (moreMayFollow === undefined || shown.has(id)))) settle(shown?.get(id));
      return {
        first,
        shown: () => shown?.get(id),
        stop() {
          settle(undefined);
          if (watchers.get(id) !== watcher) return;
          watchers.delete(id);
          if (watchers.size > 0) return;
          options.forget();
          stream?.abort();
        },
      };
    },
  };
}

/** Reads one monitor stream to its end; returns the code it ended with. */
async function readStream(options: Options, signal: AbortSignal, hear: (event: ConnectionEvent) => void): Promise<Code> {
  const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ name: options.name }] });
  try {
    for await (const event of options.dialer.monitor(options.url, selector, signal)) hear(event);
    return Code.OK;
  } catch (error) {
    const status = toStatusError(error);
    if (!signal.aborted) options.log.debug("the monitor stream has ended", { url: options.url, error: status });
    return status.code;
  }
}

/**
 * Our id, if the connection is the one that follows ours. A node manager that stands on the path twice, as in a chain of
 * functions on one node, shows the later one too.
 */
function ownId({ path }: Connection, name: string): string | undefined {
  const before = path?.path_segments[path.index - 1];
  return before?.name === name ? before.id : undefined;
}

/** Whether the node manager says this of the connection as it was before the answer that we hold. */
export function isBygone(report: Report, granted: Connection): boolean {
  if (report.kind !== "shown" && report.kind !== "deleted") return false;
  const { path } = report.connection;
  return path !== undefined && isStale({ ...report.connection, path: { ...path, index: path.index - 1 } }, granted);
}

/** What a shown state asks of us; undefined = nothing. */
export function askedBy(connection: Connection): "down" | "reselect-requested" | "refresh-requested" | undefined {
  switch (connection.state) {
    case State.DOWN:
      return "down";
    case State.RESELECT_REQUESTED:
      return "reselect-requested";
    case State.REFRESH_REQUESTED:
      return "refresh-requested";
    default:
      return undefined;
  }
}
