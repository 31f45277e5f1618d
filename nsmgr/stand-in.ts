/**
 * stand-in — while the registry does not answer, what it said last stands in: services that are known go on being
 * served, and clients of an endpoint that dies at the same time find another one.
 * An entry counts if its lease had not ended when the registry was last heard: nobody can refresh a lease meanwhile.
 */
import type { Found } from "../sdk/api.js";
import type { Clock } from "../sdk/clock.js";
import type { Timestamp } from "../sdk/gen/google/protobuf/timestamp.js";
import { Code, toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs } from "../sdk/timestamp.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";

export interface StandInOptions<T> {
  readonly matches: (query: T, entry: T) => boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** How long after the registry was last heard, in milliseconds. Default ten minutes. */
  readonly maxAgeMs?: number;
  /** Entries kept; the one seen least recently goes first. */
  readonly maxEntries?: number;
}

interface Entry {
  readonly name: string;
  readonly expiration_time?: Timestamp | undefined;
}

/** The same registry; a Find (not a watch) that reaches nobody is answered from memory, if anything there matches. */
export function standIn<T extends Entry>(registry: RemoteRegistry<T>, options: StandInOptions<T>): RemoteRegistry<T> {
  const { matches, clock, log, maxAgeMs = 600_000, maxEntries = 20_000 } = options;
  const seen = new Map<string, T>();
  let heardMs = Number.NEGATIVE_INFINITY;

  function remember({ entry, deleted }: Found<T>): void {
    heardMs = clock.nowMs();
    seen.delete(entry.name);
    if (deleted) return;
    seen.set(entry.name, entry);
    if (seen.size > maxEntries) seen.delete(seen.keys().next().value as string);
  }

  function lastKnown(query: T): T[] {
    if (clock.nowMs() - heardMs > maxAgeMs) return [];
    const living = [...seen.values()].filter(
      (entry) => matches(query, entry) && (entry.expiration_time === undefined || timestampMs(entry.expiration_time) > heardMs),
    );
    // its lease would look ended to who asks, although nobody could refresh it
    return living.map((entry) => ({ ...entry, expiration_time: undefined }));
  }

  return {
    // What was registered through us is known as well: on this node it may be asked for by name for the first time only now.
    async register(entry, call) {
      const stored = await registry.register(entry, call);
      remember({ entry: stored, deleted: false });
      return stored;
    },
    async unregister(entry, call) {
      await registry.unregister(entry, call);
      remember({ entry, deleted: true });
    },
    async *find(query, call) {
      let answered = false;
      try {
        for await (const found of registry.find(query, call)) {
          answered = true;
          remember(found);
          yield found;
        }
        heardMs = clock.nowMs();
      } catch (error) {
        const { code } = toStatusError(error);
        const away = code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED;
        if (call.watch || answered || !away || call.signal.aborted) throw error;
        const known = lastKnown(query);
        if (known.length === 0) throw error;
        log.debug("the registry does not answer; what it said last stands in", { entries: known.length, error });
        for (const entry of known) yield { entry, deleted: false };
      }
    },
  };
}
