/**
 * Takes endpoints out when their lease ends. One timer for all: places wait in buckets by the time they are due; a
 * refresh moves nothing, a place that is not due after all is put into its next bucket when its old one comes up.
 */
import type { Clock, Disarm } from "../sdk/clock.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, toStatusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs, timestampOf } from "../sdk/timestamp.js";
import type { Place, Store } from "./store/store.js";

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
  const buckets = new Map<number, Place<NetworkServiceEndpoint>[]>();
  const removals = new Set<Promise<void>>();
  let armed: { readonly atMs: number; readonly disarm: Disarm } | undefined;
  let stopped = false;
  let refused = false;

  /** A place waits in one bucket; if its lease becomes shorter in one more, and the later one finds nothing to do. */
  function wait(place: Place<NetworkServiceEndpoint>, dueMs: number): void {
    const nowMs = clock.nowMs();
    const atMs = Math.ceil(Math.max(dueMs, nowMs) / bucketMs) * bucketMs;
    if (place.dueMs !== 0 && place.dueMs <= atMs) return;
    place.dueMs = atMs;
    const bucket = buckets.get(atMs);
    if (bucket === undefined) buckets.set(atMs, [place]);
    else bucket.push(place);
    arm(atMs);
  }

  function arm(atMs: number): void {
    if (stopped || (armed !== undefined && armed.atMs <= atMs)) return;
    armed?.disarm();
    armed = { atMs, disarm: clock.at(atMs, fire) };
  }

  function fire(): void {
    armed = undefined;
    const nowMs = clock.nowMs();
    for (const [atMs, places] of [...buckets].filter(([atMs]) => atMs <= nowMs)) {
      buckets.delete(atMs);
      for (const place of places) if (place.dueMs === atMs) look(place, nowMs);
    }
    let nextMs = Number.POSITIVE_INFINITY;
    for (const atMs of buckets.keys()) nextMs = Math.min(nextMs, atMs);
    if (nextMs !== Number.POSITIVE_INFINITY) arm(nextMs);
  }

  function look(place: Place<NetworkServiceEndpoint>, nowMs: number): void {
    place.dueMs = 0;
    if (place.entry === undefined) return;
    const endMs = leaseEndMs(place.entry);
    if (endMs > nowMs) follow(place);
    else remove(place, place.entry);
  }

  function follow(place: Place<NetworkServiceEndpoint>): void {
    const endMs = place.entry === undefined ? Number.POSITIVE_INFINITY : leaseEndMs(place.entry);
    if (endMs !== Number.POSITIVE_INFINITY) wait(place, endMs);
  }

  function remove(place: Place<NetworkServiceEndpoint>, entry: NetworkServiceEndpoint): void {
    const removal = store.replace(entry.name, entry, undefined).then(
      () => {
        refused = false;
        log.debug("the lease of an endpoint has ended", { endpoint: entry.name });
      },
      (error: unknown) => {
        // ABORTED: it was refreshed just now, and its change has put it into a bucket again
        if (stopped || toStatusError(error).code === Code.ABORTED) return;
        // A store that takes nothing refuses every one of them, every second: it is told once.
        const level = refused ? "debug" : "warn";
        refused = true;
        log[level]("an endpoint whose lease has ended cannot be removed; trying again", { endpoint: entry.name, error });
        wait(place, clock.nowMs() + retryMs);
      },
    );
    removals.add(removal);
    void removal.then(() => removals.delete(removal));
  }

  const unsubscribe = store.table.subscribe(({ place }) => follow(place));
  for (const place of store.table.places()) follow(place);

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
