/**
 * Keeps an entry in the registry for as long as its owner lives: registers it, refreshes it in time, and registers it
 * again at once when the registry has lost it (restart, removal by somebody else).
 * Source of the rules: behaviour of NSM's registry clients (refresh at 2/3 of the remaining time; a watch of the own name).
 */
import type { Registry } from "../api.js";
import { type Clock, systemClock } from "../clock.js";
import { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import { Code, isStatusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { timestampMs } from "../timestamp.js";
import { retryAfterMs } from "../transport/retry-hint.js";
import { createBackOff, pause, tryFor } from "./pause.js";

export interface KeepOptions {
  readonly log: Log;
  /** Ends the keeping without unregistering: the entry then goes when its lease ends. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  /** A newer incarnation has the name: the entry is not kept any more, and nothing of it is taken out. */
  readonly onSuperseded?: (() => void) | undefined;
  /** 0 ≤ x < 1; spreads refreshes and retries. */
  readonly random?: () => number;
  /** Between two tries; default 2,000. */
  readonly longestPauseMs?: number;
}

export interface Registration<T> {
  /** As the registry answered last. */
  readonly entry: T;
  /** Resolves when nobody keeps the entry any more: unregistered, or the signal has ended it. Never rejects. */
  readonly closed: Promise<void>;
  /** Takes the entry out and stops keeping it. Never rejects: an entry that cannot be reached goes when its lease ends. */
  unregister(): Promise<void>;
}

/** A try of a call to the registry may take so long (NSM's registry clients). */
const longestTryMs = 15_000;
/** And so long at least, however short the lease. */
const shortestTryMs = 1_000;
/**
 * As a part of the lease: NSM's registry takes out an entry when its lease ends, less the time that the call which registered it had
 * left. What is left of the lease has to be longer than the pause until the next refresh.
 */
const tryShare = 1 / 6;
/** Of what is left then, the pause is no more than this part. */
const leftShare = 0.9;
const unregisterMs = 5_000;
/** A refresh comes no later, whatever the answer says: the registry's clock may run ahead of ours. */
const longestRefreshMs = 40_000;
const shortestRefreshMs = 1_000;
/** Registrations caused by events are at least so far apart. */
const eventGapMs = 1_000;
/** A watch that has lived so long was a good one: its end is answered at once. */
const goodWatchMs = 10_000;
/** A watch tells of an entry that is there at once; after so long it is not there. */
const unseenMs = 500;

/** The answers that another try will not change. */
const final: readonly number[] = [Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.UNIMPLEMENTED];

/**
 * Registers an entry and keeps it registered. Resolves with the first answer of the registry; tries until there is one.
 * @throws INVALID_ARGUMENT, PERMISSION_DENIED (the name belongs to another identity), UNAUTHENTICATED, UNIMPLEMENTED
 *   when the registry refuses the entry so; the signal's reason when it aborts before the first answer
 */
export async function keepRegistered<T extends NetworkService | NetworkServiceEndpoint>(
  registry: Registry<T>,
  entry: T,
  options: KeepOptions,
): Promise<Registration<T>> {
  const { log, clock = systemClock, random = Math.random } = options;
  const stopped = new AbortController();
  const follow = (): void => stopped.abort(options.signal.reason);
  options.signal.throwIfAborted();
  options.signal.addEventListener("abort", follow, { once: true });
  const { signal } = stopped;

  let current = entry;
  let leaseMs: number | undefined;
  let tryMs = longestTryMs;
  const letGo = (error: unknown): void => {
    log.error(`${entry.name} has been replaced by a newer incarnation`, { error });
    stopped.abort(error);
    options.onSuperseded?.();
  };
  /** @param failures  in a row; a registry that is slow is given more time */
  const register = async (failures: number): Promise<void> => {
    const plannedMs = leaseMs === undefined ? longestTryMs : Math.max(leaseMs * tryShare, shortestTryMs);
    tryMs = Math.min(plannedMs * 2 ** Math.min(failures, 4), longestTryMs);
    current = await tryFor(tryMs, signal, `register ${entry.name}`, (signal) =>
      registry.register({ ...current, expiration_time: undefined }, { signal, deadlineMs: Date.now() + tryMs }),
    );
    leaseMs = leaseOf(current, clock.nowMs());
  };
  /** Tries until it succeeds; false when the signal ended it. */
  const registerUntilDone = async (first: boolean): Promise<boolean> => {
    const backOff = createBackOff(random, options.longestPauseMs);
    for (let failures = 0; ; failures += 1) {
      try {
        await register(failures);
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        if (first && isFinal(error)) throw toStatusError(error);
        if (isStatusError(error) && error.code === Code.ALREADY_EXISTS && !first) {
          letGo(error);
          return false;
        }
        log.warn(`cannot register ${entry.name}; trying again`, { error });
        if (!(await pause(clock, Math.max(backOff.nextMs(), retryAfterMs(error) ?? 0), signal))) return false;
      }
    }
  };

  try {
    if (!(await registerUntilDone(true))) throw options.signal.reason;
  } catch (error) {
    options.signal.removeEventListener("abort", follow);
    throw error;
  }
  const loss = createEvent();
  const closed = Promise.all([
    keepFresh({
      lease: () => (leaseMs === undefined ? undefined : { leaseMs, tryMs }),
      registerUntilDone: () => registerUntilDone(false),
      loss,
      clock,
      random,
      signal,
    }),
    watchOwnName({ registry, entry, isReplaced: (found) => isReplacedBy(current, found), loss, log, clock, random, signal }),
  ]).then(() => options.signal.removeEventListener("abort", follow));

  return {
    get entry() {
      return current;
    },
    closed,
    async unregister() {
      if (signal.aborted) return closed;
      stopped.abort(new DOMException(`${entry.name} is unregistered`, "AbortError"));
      await closed;
      const shutdown = new AbortController();
      try {
        await tryFor(unregisterMs, shutdown.signal, `unregister ${entry.name}`, (signal) =>
          registry.unregister(current, { signal }),
        );
      } catch (error) {
        log.warn(`cannot unregister ${entry.name}; it goes when its lease ends`, { error });
      }
    },
  };
}

function isFinal(error: unknown): boolean {
  return isStatusError(error) && final.includes(error.code);
}

interface Keeping {
  readonly loss: Event;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Of the last answer, and what the call had for its time; undefined: it does not end. */
  readonly lease: () => Lease | undefined;
  readonly registerUntilDone: () => Promise<boolean>;
}

interface Lease {
  readonly leaseMs: number;
  readonly tryMs: number;
}

async function keepFresh(keeping: Keeping): Promise<void> {
  const { clock, random, signal, loss } = keeping;
  for (;;) {
    const registeredMs = clock.nowMs();
    const waited = await waitForEither(clock, refreshAfterMs(keeping.lease(), random), loss, signal);
    if (waited === "stopped") return;
    const tooSoonMs = waited === "lost" ? registeredMs + eventGapMs * random() - clock.nowMs() : 0;
    if (tooSoonMs > 0 && !(await pause(clock, tooSoonMs, signal))) return;
    loss.clear();
    if (!(await keeping.registerUntilDone())) return;
  }
}

/** How long the entry may stay without a refresh, from now on; undefined: for ever. */
function leaseOf(entry: object, nowMs: number): number | undefined {
  const { expiration_time: expiry } = entry as Partial<NetworkServiceEndpoint>;
  return expiry && timestampMs(expiry) - nowMs;
}

/** Undefined: an entry without lease needs no refresh. */
function refreshAfterMs(lease: Lease | undefined, random: () => number): number | undefined {
  if (lease === undefined) return undefined;
  const { leaseMs, tryMs } = lease;
  const remainingMs = Math.min(leaseMs * (2 / 3), (leaseMs - tryMs) * leftShare, longestRefreshMs);
  return Math.max(remainingMs * (1 - random() / 10), shortestRefreshMs);
}

/** Whether what the registry has under our name is of another incarnation. */
function isReplacedBy(current: object, found: object): boolean {
  const ours = (current as Partial<NetworkServiceEndpoint>).initial_registration_time;
  const theirs = (found as Partial<NetworkServiceEndpoint>).initial_registration_time;
  return ours !== undefined && theirs !== undefined && timestampMs(theirs) > timestampMs(ours);
}

interface Watching<T> extends Omit<Keeping, "lease" | "registerUntilDone"> {
  readonly registry: Registry<T>;
  readonly entry: T;
  readonly isReplaced: (found: T) => boolean;
  readonly log: Log;
}

/**
 * Reports the loss of the entry: the watch ends (restart of the registry), says that the entry was removed, or does not
 * tell of it (the registry, or the manager before it, was restarted between two watches).
 */
async function watchOwnName<T extends NetworkService | NetworkServiceEndpoint>(watching: Watching<T>): Promise<void> {
  const { registry, entry, loss, log, clock, random, signal } = watching;
  const query = { ...emptyLike(entry), name: entry.name };
  const backOff = createBackOff(random);
  while (!signal.aborted) {
    const openedMs = clock.nowMs();
    const disarm = clock.at(openedMs + unseenMs, () => loss.set());
    try {
      for await (const found of registry.find(query, { watch: true, signal })) {
        if (found.deleted || watching.isReplaced(found.entry)) loss.set();
        else disarm();
      }
    } catch (error) {
      if (!signal.aborted) log.debug(`the watch of ${entry.name} has ended`, { error });
    } finally {
      disarm();
    }
    if (signal.aborted) return;
    loss.set();
    if (clock.nowMs() - openedMs >= goodWatchMs) backOff.reset();
    await pause(clock, backOff.nextMs(), signal);
  }
}

function emptyLike<T extends NetworkService | NetworkServiceEndpoint>(entry: T): T {
  return ("network_service_names" in entry ? NetworkServiceEndpoint : NetworkService).fromPartial({}) as T;
}

/** Something that has happened and has not been looked at yet. */
interface Event {
  set(): void;
  clear(): void;
  /** Runs once, now or when it is set; the result takes it back. */
  whenSet(action: () => void): () => void;
}

function createEvent(): Event {
  let isSet = false;
  let waiting: (() => void) | undefined;
  return {
    set() {
      isSet = true;
      waiting?.();
      waiting = undefined;
    },
    clear() {
      isSet = false;
    },
    whenSet(action) {
      if (isSet) action();
      else waiting = action;
      return () => {
        waiting = undefined;
      };
    },
  };
}

function waitForEither(
  clock: Clock,
  durationMs: number | undefined,
  loss: Event,
  signal: AbortSignal,
): Promise<"due" | "lost" | "stopped"> {
  if (signal.aborted) return Promise.resolve("stopped");
  return new Promise((resolve) => {
    let disarm = (): void => {};
    let forget = (): void => {};
    const settle = (why: "due" | "lost" | "stopped") => (): void => {
      disarm();
      forget();
      signal.removeEventListener("abort", stop);
      resolve(why);
    };
    const stop = settle("stopped");
    signal.addEventListener("abort", stop, { once: true });
    if (durationMs !== undefined) disarm = clock.at(clock.nowMs() + durationMs, settle("due"));
    forget = loss.whenSet(settle("lost"));
  });
}
