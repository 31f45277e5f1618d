/**
 * Closes that did not get through are tried again for a while: what stays at a next hop keeps addresses and interfaces until it expires,
 * and a mesh that is busy healing has no use for either.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Connection } from "../gen/connection.js";
import { nextSegment } from "../path.js";
import { Code, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { Dialer } from "../transport/dial.js";
import { withinTime } from "./time-limit.js";

export interface LateCloses {
  /** Begins to close this connection at that next hop, if `error` says that nobody heard the first try. */
  close(url: string, connection: Connection, error: unknown): void;
  /** It is asked for again there: it is not to be closed any more. */
  forget(url: string, connection: Connection): void;
}

export interface LateClosesOptions {
  readonly dialer: Pick<Dialer, "connections">;
  readonly log: Log;
  /** Pauses before each try, in milliseconds; after the last one it is left to expire. */
  readonly pausesMs?: readonly number[];
}

const defaultPausesMs = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000];
const tryMs = 5_000;
/** A node that is down for good has many; they expire there too, if it ever comes back. */
const maxPending = 2_000;

export function lateCloses({ dialer, log, pausesMs = defaultPausesMs }: LateClosesOptions): LateCloses {
  const pending = new Map<string, AbortController>();

  async function insist(url: string, connection: Connection, life: AbortSignal): Promise<void> {
    for (const pauseMs of pausesMs) {
      await delay(pauseMs * (0.7 + 0.6 * Math.random()), undefined, { signal: life, ref: false });
      try {
        await withinTime(tryMs, (limit, deadlineMs) =>
          dialer.connections(url).close(connection, { signal: AbortSignal.any([life, limit]), deadlineMs }),
        );
        return;
      } catch (error) {
        life.throwIfAborted();
        if (!wasUnheard(error)) return;
      }
    }
    log.info(`close at ${url} never got through; the connection expires there by itself`, { connectionId: connection.id });
  }

  return {
    close(url, connection, error) {
      const key = keyOf(url, connection);
      if (!wasUnheard(error) || pending.has(key) || pending.size >= maxPending) return;
      const life = new AbortController();
      pending.set(key, life);
      insist(url, connection, life.signal)
        .catch(() => {}) // it is wanted again
        .finally(() => {
          if (pending.get(key) === life) pending.delete(key);
        });
    },
    forget(url, connection) {
      const key = keyOf(url, connection);
      pending.get(key)?.abort();
      pending.delete(key);
    },
  };
}

/** The next hop knows the connection by the id in its own segment. */
function keyOf(url: string, connection: Connection): string {
  return `${url} ${nextSegment(connection)?.id ?? connection.id}`;
}

function wasUnheard(error: unknown): boolean {
  const { code } = toStatusError(error);
  return code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED;
}
