/**
 * Takes endpoints out when their lease ends. One timer for all: names wait in buckets by the time they are due; a
 * refresh moves nothing, a name that is not due after all is put into its next bucket when its old one comes up.
 */
import type { Clock, Disarm } from "../sdk/clock.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs, timestampOf } from "../sdk/timestamp.js";
import type { Store } from "./store/store.js";

export interface Expiry {
  /** Stops and waits for the removals under way. */
  stop(): Promise<void>;
}

/** An entry goes at most so long after its lease has ended. */
const bucketMs = 250;
/** When an entry cannot be removed (disk full), the next try comes after this. */
const retryMs = 1_000;

export function expireEndpoints(
  store: Store<NetworkServiceEndpoint>,
  options: { readonly clock: Clock; readonly log: Log },
): Expiry {
  const { clock, log } = options;
  const buckets = new Map<number, Set<string>>();
  /** In which bucket a name waits. */
  const waiting = new Map<string, number>();
  const removals = new Set<Promise<void>>();
  let armed: { readonly atMs: number; readonly disarm: Disarm } | undefined;
  let stopped = false;

  function wait(name: string, dueMs: number): void {
    const atMs = Math.ceil(Math.max(dueMs, clock.nowMs()) / bucketMs) * bucketMs;
    const old = waiting.get(name);
    if (old !== undefined) {
      if (old <= atMs) return;
      leave(name, old);
    }
    waiting.set(name, atMs);
    const bucket = buckets.get(atMs);
    if (bucket === undefined) buckets.set(atMs, new Set([name]));
    else bucket.add(name);
    arm(atMs);
  }

  function leave(name: string, atMs: number): void {
    waiting.delete(name);
    const bucket = buckets.get(atMs);
    bucket?.delete(name);
    if (bucket?.size === 0) buckets.delete(atMs);
  }

  function arm(atMs: number): void {
    if (stopped || (armed !== undefined && armed.atMs <= atMs)) return;
    armed?.disarm();
    armed = { atMs, disarm: clock.at(atMs, fire) };
  }

  function fire(): void {
    armed = undefined;
    const nowMs = clock.nowMs();
    for (const [atMs, names] of [...buckets].filter(([atMs]) => atMs <= nowMs)) {
      buckets.delete(atMs);
      for (const name of names) {
        waiting.delete(name);
        const entry = store.table.get(name);
        if (entry === undefined) continue;
        const dueMs = leaseEndMs(entry);
        if (dueMs > nowMs) wait(name, dueMs);
        else remove(entry);
      }
    }
    let nextMs = Number.POSITIVE_INFINITY;
    for (const atMs of buckets.keys()) nextMs = Math.min(nextMs, atMs);
    if (nextMs !== Number.POSITIVE_INFINITY) arm(nextMs);
  }

  function remove(entry: NetworkServiceEndpoint): void {
    const removal = store.replace(entry.name, entry, undefined).then(
      () => log.debug("the lease of an endpoint has ended", { endpoint: entry.name }),
      (error: unknown) => {
        // ABORTED: it was refreshed just now, and its change has put it into a bucket again
        if (stopped || toStatusError(error).code === Code.ABORTED) return;
        log.warn("an endpoint whose lease has ended cannot be removed; trying again", { endpoint: entry.name, error });
        wait(entry.name, clock.nowMs() + retryMs);
      },
    );
    removals.add(removal);
    void removal.then(() => removals.delete(removal));
  }

  const watch = (entry: NetworkServiceEndpoint): void => {
    const dueMs = leaseEndMs(entry);
    if (dueMs !== Number.POSITIVE_INFINITY) wait(entry.name, dueMs);
  };
  const unsubscribe = store.table.subscribe(({ previous, next }) => {
    if (next !== undefined) watch(next);
    else if (previous !== undefined) {
      const atMs = waiting.get(previous.name);
      if (atMs !== undefined) leave(previous.name, atMs);
    }
  });
  for (const entry of store.table.all()) watch(entry);

  return {
    async stop() {
      stopped = true;
      unsubscribe();
      armed?.disarm();
      await Promise.all(removals);
    },
  };
}

/** Infinity: no lease. */
function leaseEndMs({ expiration_time }: NetworkServiceEndpoint): number {
  return expiration_time === undefined ? Number.POSITIVE_INFINITY : timestampMs(expiration_time);
}

/**
 * An entry as it comes back from a store after a restart: its lease did not run while nobody could refresh it, so it
 * gets at least a whole period again.
 */
export function renewLease(entry: NetworkServiceEndpoint, nowMs: number, periodMs: number): NetworkServiceEndpoint {
  if (leaseEndMs(entry) >= nowMs + periodMs) return entry;
  return { ...entry, expiration_time: timestampOf(nowMs + periodMs) };
}
