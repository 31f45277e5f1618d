/**
 * drain — a component that is to go takes no new connections and has those it carries moved, none of them cut.
 * Needs:  context.previous (from `serialize`)
 * Does:   while it drains: watchers are told RESELECT_REQUESTED for each connection; clients make the new path beside the old
 *         one and close the old one when packets pass on the new
 * Fails:  UNAVAILABLE a new connection while it drains: another one of its kind should be asked
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { type Connection, State } from "../gen/connection.js";
import type { DrainAnswer } from "../gen/inspect.js";
import { Code, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { HasConnection } from "./serialize.js";

export interface DrainState {
  readonly draining: boolean;
  /** Connections that are still here. */
  readonly left: number;
}

export interface Drain extends Element<ConnectionApi, HasConnection> {
  /** Begins, and waits until no connection is left, at most so long. Again: goes on waiting. */
  begin(waitMs: number): Promise<DrainState>;
  /** Takes part again. */
  end(): DrainState;
}

export interface DrainOptions {
  /** Of this component, for errors. */
  readonly name: string;
  readonly connections: () => Iterable<Connection>;
  /** Tells who watches the connection. */
  readonly publish: (connection: Connection) => void;
}

/**
 * At the end of a component that leaves for good: waits until its connections have been made elsewhere, and tells of those that
 * have not.
 */
export async function leaveConnections(
  draining: Pick<Drain, "begin">,
  { name, waitMs, log }: { readonly name: string; readonly waitMs: number; readonly log: Log },
): Promise<void> {
  const { left } = await draining.begin(waitMs);
  if (left === 0) return;
  log.warn(
    `${name} leaves with connections: they found no other endpoint in time, and their clients lose packets until they do`,
    {
      connections: left,
      waitedMs: waitMs,
    },
  );
}

/** The answer to an operator. */
export function drainAnswer(component: string, { draining, left }: DrainState): DrainAnswer {
  return { component, draining, connections_left: left };
}

const lookAgainMs = 20;
/** A refresh, or a neighbour that has come anew, may have missed the word. */
const tellAgainMs = 1_000;

export function drain(options: DrainOptions): Drain {
  let draining = false;
  let runs = 0;
  const left = (): Connection[] => [...options.connections()];
  const tell = (): void => {
    for (const connection of left()) options.publish({ ...connection, state: State.RESELECT_REQUESTED });
  };
  const stateNow = (): DrainState => ({ draining, left: left().length });
  return {
    name: "drain",
    steps: {
      async request(request, { previous }, rest) {
        if (draining && previous === undefined) {
          throw statusError(Code.UNAVAILABLE, `${options.name} drains and takes no new connections; another one must be asked`);
        }
        return rest.request(request);
      },
    },
    async begin(waitMs) {
      draining = true;
      const run = ++runs;
      const endMs = performance.now() + waitMs;
      for (let toldMs = Number.NEGATIVE_INFINITY; draining && run === runs && left().length > 0; await delay(lookAgainMs)) {
        const nowMs = performance.now();
        if (nowMs >= toldMs + tellAgainMs) {
          tell();
          toldMs = nowMs;
        }
        if (nowMs >= endMs) break;
      }
      return stateNow();
    },
    end() {
      draining = false;
      return stateNow();
    },
  };
}
