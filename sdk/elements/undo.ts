/**
 * undo — takes back what elements after it did to the world, in reverse order, when a request fails and on close.
 * Needs:  context.previous (from `serialize`)
 * Adds:   context.undo(key, how): on failure of this request, and on close
 *         context.undoOnFailure(key, how): only on failure of this request
 * Does:   a failed refresh takes back only what is new; a caller that left before the answer counts as a failure of a
 *         first request; an undo that itself fails is logged, and the others still run
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { Log } from "../telemetry/log.js";
import type { HasConnection } from "./serialize.js";
import { withinTime } from "./time-limit.js";

/** Takes one thing back; the signal bounds its time. */
export type Undo = (signal: AbortSignal) => void | Promise<void>;

export interface HasUndo {
  /** A repeated key replaces the older way; as on a refresh, where the thing is there already. */
  readonly undo: (key: string, how: Undo) => void;
  readonly undoOnFailure: (key: string, how: Undo) => void;
}

/** Bound of all undos of one request together, in milliseconds. */
const undoTimeoutMs = 15_000;

export function undo({ log }: { readonly log: Log }): Element<ConnectionApi, HasConnection, HasUndo> {
  const built = new Map<string, Map<string, Undo>>();

  async function takeBack(connectionId: string, steps: ReadonlyMap<string, Undo>): Promise<void> {
    if (steps.size === 0) return;
    await withinTime(undoTimeoutMs, async (signal) => {
      for (const [key, how] of [...steps].reverse()) {
        try {
          await how(signal);
        } catch (error) {
          log.error(`undo of ${key} failed`, { connectionId, error });
        }
      }
    });
  }

  return {
    name: "undo",
    steps: {
      async request(request, { previous, signal }, rest) {
        const id = request.connection?.id ?? "";
        const fresh = new Map<string, Undo>();
        const forFailure = new Map<string, Undo>();
        try {
          const answer = await rest.request(request, {
            undo: (key, how) => {
              // re-insert: the order is that of the last doing
              fresh.delete(key);
              fresh.set(key, how);
              if (!built.get(id)?.has(key)) forFailure.set(key, how);
            },
            undoOnFailure: (key, how) => forFailure.set(key, how),
          });
          if (previous === undefined) signal.throwIfAborted();
          if (fresh.size > 0) built.set(id, new Map([...(built.get(id) ?? []), ...fresh]));
          return answer;
        } catch (error) {
          await takeBack(id, forFailure);
          throw error;
        }
      },
      async close(connection, _context, rest) {
        const steps = built.get(connection.id);
        built.delete(connection.id);
        try {
          await rest.close(connection, { undo() {}, undoOnFailure() {} });
        } finally {
          if (steps !== undefined) await takeBack(connection.id, steps);
        }
      },
    },
  };
}
