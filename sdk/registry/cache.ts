/**
 * Look-ups in a registry that are kept current by a watch: the first Find of a query goes to the registry and opens a
 * watch, later ones are answered from memory. Asked directly all the same: a query whose answer is empty (a miss must
 * not outlive a registration), one whose watch is broken, and whoever asks for `fresh`.
 */
import type { Found, Registry } from "../api.js";
import { type Clock, type Disarm, systemClock } from "../clock.js";
import { Code, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { createBackOff, pause, tryFor } from "./pause.js";

export interface CacheOptions {
  readonly log: Log;
  /** Ends every watch; after it, look-ups go to the registry. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** A query nobody has asked for so long is forgotten. Default 10 min. */
  readonly idleMs?: number;
  /** The least recently asked query is forgotten for the next. Default 1,000. */
  readonly maxQueries?: number;
  /** The last known answer is given for so long when watch and registry both fail. Default 5 min. */
  readonly staleMs?: number;
}

export interface WatchedCache<T> extends Registry<T> {
  /** @param options.fresh  asks the registry whatever the cache holds */
  find(query: T, options: { watch: boolean; signal: AbortSignal; fresh?: boolean }): AsyncIterable<Found<T>>;
  /** Queries watched now. */
  readonly size: number;
}

interface Watched<T> {
  readonly query: T;
  readonly controller: AbortController;
  /** As the watch tells it. */
  entries: Map<string, T>;
  /** Names that were found directly and that the watch must have told of before it is trusted; undefined: nothing was found yet. */
  awaited: Set<string> | undefined;
  /** Names the watch has told of before it was trusted. */
  told: Set<string>;
  open: boolean;
  lastAnswer: { readonly entries: readonly T[]; readonly atMs: number } | undefined;
  asking: Promise<readonly T[]> | undefined;
  usedMs: number;
}

/** A direct Find may take so long; the short one where an old answer can stand in. */
const askMs = 15_000;
const askWithStandInMs = 1_000;

export function watchedCache<T extends { readonly name: string }>(registry: Registry<T>, options: CacheOptions): WatchedCache<T> {
  const { log, signal, clock = systemClock, random = Math.random } = options;
  const { idleMs = 600_000, maxQueries = 1_000, staleMs = 300_000 } = options;
  const watched = new Map<string, Watched<T>>();
  let disarmSweep: Disarm | undefined;
  signal.addEventListener(
    "abort",
    () => {
      disarmSweep?.();
      for (const key of watched.keys()) forget(key);
    },
    { once: true },
  );

  function forget(key: string): void {
    watched.get(key)?.controller.abort(new DOMException("the look-up is not used any more", "AbortError"));
    watched.delete(key);
  }

  function sweep(): void {
    for (const [key, { usedMs }] of watched) if (usedMs + idleMs <= clock.nowMs()) forget(key);
    disarmSweep = watched.size === 0 ? undefined : clock.at(clock.nowMs() + idleMs, sweep);
  }

  /** The state of a query, most recently used last; made if it is new. */
  function stateOf(query: T): Watched<T> {
    const key = JSON.stringify(query);
    let state = watched.get(key);
    watched.delete(key);
    if (state === undefined) {
      for (const oldest of watched.keys()) {
        if (watched.size < maxQueries) break;
        forget(oldest);
      }
      state = createWatched(query);
      void follow(state);
    }
    state.usedMs = clock.nowMs();
    watched.set(key, state);
    disarmSweep ??= clock.at(clock.nowMs() + idleMs, sweep);
    return state;
  }

  /** Keeps one watch open until its query is forgotten. Never rejects. */
  async function follow(state: Watched<T>): Promise<void> {
    const backOff = createBackOff(random);
    const { signal } = state.controller;
    while (!signal.aborted) {
      try {
        for await (const found of registry.find(state.query, { watch: true, signal })) {
          backOff.reset();
          apply(state, found);
        }
      } catch (error) {
        if (!signal.aborted) log.debug("a watch of the registry has ended", { error });
      }
      if (isCurrent(state)) state.lastAnswer = { entries: [...state.entries.values()], atMs: clock.nowMs() };
      Object.assign(state, { open: false, entries: new Map(), told: new Set(), awaited: undefined });
      if (!(await pause(clock, backOff.nextMs(), signal))) return;
      state.open = true;
    }
  }

  /** Asks the registry; callers at the same time share one question. */
  function ask(state: Watched<T>, fresh: boolean): Promise<readonly T[]> {
    if (state.asking !== undefined && !fresh) return state.asking;
    const timeoutMs = state.lastAnswer === undefined ? askMs : askWithStandInMs;
    const asking = tryFor(timeoutMs, signal, "find in the registry", (signal) => collect(registry, state.query, signal)).then(
      (entries) => {
        state.lastAnswer = { entries, atMs: clock.nowMs() };
        if (state.open) state.awaited = new Set(entries.map(({ name }) => name).filter((name) => !isTold(state, name)));
        return entries;
      },
    );
    state.asking = asking;
    const done = (): void => {
      if (state.asking === asking) state.asking = undefined;
    };
    asking.then(done, done);
    return asking;
  }

  async function lookUp(query: T, fresh: boolean, caller: AbortSignal): Promise<Iterable<T>> {
    if (signal.aborted) return collect(registry, query, caller);
    const state = stateOf(query);
    if (!fresh && isCurrent(state) && state.entries.size > 0) return [...state.entries.values()];
    try {
      return await orAborted(ask(state, fresh), caller);
    } catch (error) {
      const last = state.lastAnswer;
      const usable = !fresh && last !== undefined && last.entries.length > 0 && last.atMs + staleMs > clock.nowMs();
      if (caller.aborted || !usable || !isAway(error)) throw error;
      log.debug("the registry does not answer; the last known answer stands in", { error });
      return last.entries.map(withoutLease);
    }
  }

  return {
    get size() {
      return watched.size;
    },
    register: (entry, call) => registry.register(entry, call),
    unregister: (entry, call) => registry.unregister(entry, call),
    async *find(query, { watch, signal, fresh = false }) {
      if (watch) yield* registry.find(query, { watch, signal });
      else for (const entry of await lookUp(query, fresh, signal)) yield { entry, deleted: false };
    },
  };
}

function createWatched<T>(query: T): Watched<T> {
  return {
    query,
    controller: new AbortController(),
    entries: new Map(),
    awaited: undefined,
    told: new Set(),
    open: true,
    lastAnswer: undefined,
    asking: undefined,
    usedMs: 0,
  };
}

function apply<T extends { readonly name: string }>(state: Watched<T>, { entry, deleted }: Found<T>): void {
  if (deleted) state.entries.delete(entry.name);
  else state.entries.set(entry.name, entry);
  if (!isCurrent(state)) state.told.add(entry.name);
  state.awaited?.delete(entry.name);
}

function isTold<T>(state: Watched<T>, name: string): boolean {
  return state.told.has(name) || state.entries.has(name);
}

/** A watch is trusted once it has told of everything that a direct Find has found: its first list has no end mark. */
function isCurrent<T>(state: Watched<T>): boolean {
  return state.open && state.awaited?.size === 0;
}

async function collect<T>(registry: Registry<T>, query: T, signal: AbortSignal): Promise<readonly T[]> {
  const entries: T[] = [];
  for await (const { entry, deleted } of registry.find(query, { watch: false, signal })) if (!deleted) entries.push(entry);
  return entries;
}

/** Nobody can refresh a lease while the registry is away, so its end says nothing. */
function withoutLease<T>(entry: T): T {
  const { expiration_time } = entry as { expiration_time?: unknown };
  return expiration_time === undefined ? entry : { ...entry, expiration_time: undefined };
}

/** Did the call fail because nobody answered? */
function isAway(error: unknown): boolean {
  const { code } = toStatusError(error);
  return code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED;
}

/** The promise, or the signal's reason if that comes first. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
