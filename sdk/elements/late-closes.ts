/**
 * Closes that did not get through are tried again for a while: what stays at a next hop keeps addresses and interfaces until it expires,
 * and a mesh that is busy healing has no use for either. What is owed is kept until it is heard, so that a restarted process goes on.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Connection } from "../gen/connection.js";
import { Code, statusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { Dialer } from "../transport/dial.js";
import { closeKey, type OwedCloses } from "./owed-closes.js";
import { withinTime } from "./time-limit.js";

export interface LateCloses {
  /** It is about to be closed at that next hop: from now on that is owed, until one of the three others says more. */
  begin(url: string, connection: Connection): void;
  /** The next hop has heard of it. */
  heard(url: string, connection: Connection): void;
  /** The first try has failed: it is tried again, if `error` says that nobody heard it and nobody has asked for it since. */
  close(url: string, connection: Connection, error: unknown): void;
  /** It is asked for again there: it is not to be closed any more. */
  forget(url: string, connection: Connection): void;
}

export interface LateClosesOptions {
  readonly dialer: Pick<Dialer, "connections">;
  readonly log: Log;
  /** Absent = what is owed ends with this process. */
  readonly owed?: OwedCloses | undefined;
  /** Pauses before each try, in milliseconds; after the last one it is left to expire. */
  readonly pausesMs?: readonly number[];
}

const defaultPausesMs = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000];
const tryMs = 5_000;
/** A node that is down for good has many; they expire there too, if it ever comes back. */
const maxPending = 2_000;

export function lateCloses({ dialer, log, owed, pausesMs = defaultPausesMs }: LateClosesOptions): LateCloses {
  const pending = new Map<string, AbortController>();
  /** First tries of which nobody knows yet whether they are heard. */
  const underWay = new Set<string>();

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

  function begin(url: string, connection: Connection): void {
    underWay.add(closeKey({ url, connection }));
    owed?.note({ url, connection });
  }

  /** @returns false: it was asked for again since it began */
  function end(url: string, connection: Connection): boolean {
    return underWay.delete(closeKey({ url, connection }));
  }

  function close(url: string, connection: Connection, error: unknown): void {
    const key = closeKey({ url, connection });
    if (!end(url, connection) || pending.has(key)) return;
    if (!wasUnheard(error) || pending.size >= maxPending) {
      owed?.settle({ url, connection });
      return;
    }
    const life = new AbortController();
    pending.set(key, life);
    insist(url, connection, life.signal)
      .catch(() => {}) // it is wanted again
      .finally(() => {
        if (pending.get(key) !== life) return;
        pending.delete(key);
        owed?.settle({ url, connection });
      });
  }

  const killed = statusError(Code.UNAVAILABLE, "an earlier run of this process ended before it was heard");
  for (const { url, connection } of owed?.all() ?? []) {
    begin(url, connection);
    close(url, connection, killed);
  }

  return {
    begin,
    heard(url, connection) {
      if (end(url, connection)) owed?.settle({ url, connection });
    },
    close,
    forget(url, connection) {
      const key = closeKey({ url, connection });
      const life = pending.get(key);
      const began = end(url, connection);
      pending.delete(key);
      life?.abort();
      if (began || life !== undefined) owed?.settle({ url, connection });
    },
  };
}

function wasUnheard(error: unknown): boolean {
  const { code } = toStatusError(error);
  return code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED;
}
