/**
 * recover — what a restarted manager knew. It keeps no ledger: its forwarders do, and show it what came through it when they
 * register. Without this a client that restarts in the same moment would be a stranger, and its own interface in its way.
 * Does:   once for each forwarder: its connections that carry our name are stored, armed to expire and told to watchers as
 *         REFRESH_REQUESTED, so that their clients ask again and every hop watches the next one as before
 *         Meanwhile newcomers wait (await-recovery.ts)
 * Fails:  never; a forwarder that cannot be asked is asked again when it registers again
 */

import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, type Handler } from "../sdk/chain.js";
import type { Announcements } from "../sdk/elements/announce.js";
import type { Expire } from "../sdk/elements/expire.js";
import type { Serialize } from "../sdk/elements/serialize.js";
import { type Connection, MonitorScopeSelector, State } from "../sdk/gen/connection.js";
import type { MonitorHub } from "../sdk/monitor/hub.js";
import { pause } from "../sdk/pause.js";
import { Code, statusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import type { Dialer } from "../sdk/transport/dial.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export interface RecoverDeps {
  /** Own name in paths. */
  readonly name: string;
  readonly forwarderServiceName: string;
  readonly locals: LocalEndpoints;
  readonly dialer: Pick<Dialer, "monitor">;
  readonly hub: Pick<MonitorHub, "get">;
  readonly announcements: Pick<Announcements, "publish">;
  readonly serialize: Pick<Serialize, "restore">;
  readonly expire: Pick<Expire, "arm">;
  readonly handler: Handler<ConnectionApi>;
  readonly log: Log;
  /** Aborts at shutdown. */
  readonly signal: AbortSignal;
}

/** A forwarder shows all it has at once; longer than this it has nothing more to show. */
const readTimeoutMs = 2_000;
/** As many as a full message of the initial state holds (sdk/monitor/hub.ts): then another one may follow. */
const fullMessage = 200;

export interface Recovery {
  /** Resolves when every forwarder that is registered has shown what it has; rejects with the signal's reason. */
  settled(signal: AbortSignal): Promise<void>;
  /**
   * Resolves when a forwarder has come back and shown what it has. No longer: who heals waits for the closes before it.
   * @throws UNAVAILABLE none has come in time
   */
  known(signal: AbortSignal): Promise<void>;
}

const lookAgainMs = 50;

export function recoverConnections(deps: RecoverDeps): Recovery {
  const { locals, forwarderServiceName, log } = deps;
  const underWay = new Set<Promise<void>>();
  const asked = new Set<string>();
  async function settled(signal: AbortSignal): Promise<void> {
    if (underWay.size > 0) await untilAborted(Promise.all(underWay), signal);
  }
  locals.onChange((name, endpoint) => {
    if (endpoint === undefined || asked.has(name) || !endpoint.network_service_names.includes(forwarderServiceName)) return;
    asked.add(name);
    const reading = readFrom(endpoint.url, deps).then(
      (count) => {
        if (count > 0) log.info("connections of a former run are known again", { forwarder: name, connections: count });
      },
      (error) => {
        asked.delete(name);
        log.info("the forwarder does not show its connections yet", { forwarder: name, error });
      },
    );
    underWay.add(reading);
    void reading.finally(() => underWay.delete(reading));
  });
  return {
    settled,
    async known(signal) {
      while (locals.ofService(forwarderServiceName).length === 0) {
        if (signal.aborted) {
          const text =
            "no forwarder has come back to this manager, which has just started and may not know what they have; close again";
          throw statusError(Code.UNAVAILABLE, text);
        }
        await pause(lookAgainMs, signal);
      }
      await settled(signal);
    },
  };
}

/** What comes first: the end of the work, or the caller's patience. */
function untilAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason);
    if (signal.aborted) return leave();
    signal.addEventListener("abort", leave, { once: true });
    void work.finally(() => {
      signal.removeEventListener("abort", leave);
      resolve();
    });
  });
}

async function readFrom(url: string, deps: RecoverDeps): Promise<number> {
  const enough = new AbortController();
  const timer = setTimeout(() => enough.abort(), readTimeoutMs);
  const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ name: deps.name }] });
  let heard = false;
  let count = 0;
  try {
    for await (const { connections } of deps.dialer.monitor(url, selector, AbortSignal.any([enough.signal, deps.signal]))) {
      heard = true;
      const shown = Object.values(connections);
      for (const connection of shown) if (restore(connection, deps)) count += 1;
      if (shown.length < fullMessage) break;
    }
  } catch (error) {
    if (!heard) throw error;
  } finally {
    clearTimeout(timer);
    enough.abort();
  }
  return count;
}

/** @returns whether it was news */
function restore(shown: Connection, { name, hub, announcements, serialize, expire, handler, log, signal }: RecoverDeps): boolean {
  const { path } = shown;
  const index = (path?.index ?? 0) - 1;
  const own = path?.path_segments[index];
  if (path === undefined || own === undefined || own.name !== name || hub.get(own.id) !== undefined) return false;
  const ours: Connection = { ...shown, id: own.id, path: { ...path, index }, state: State.UP };
  const tell = (): void => {
    expire.arm(ours, () => {
      handler.close(ours, backgroundCall(signal)).catch((error) => {
        log.warn("a connection of a former run that nobody refreshed could not be closed", { connectionId: ours.id, error });
      });
    });
    announcements.publish({ ...ours, state: State.REFRESH_REQUESTED });
  };
  // a request for it is under way: its answer says more, unless it fails. Then who asks anew must find it shown, or his own
  // interface would be in his way.
  const later = (): void => {
    log.info("a connection of a former run is known again after a request for it failed", { connectionId: ours.id });
    tell();
  };
  if (!serialize.restore(ours, later)) return false;
  tell();
  return true;
}
