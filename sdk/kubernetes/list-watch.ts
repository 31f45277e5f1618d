/**
 * list-watch — all objects of a kind, now and after each change, through every failure of the API server.
 *
 * A list gives the state at a resource version; the watch goes on from there and from each event and bookmark, so that
 * nothing is lost between the two, nor between two watches. When the server no longer has that version (410), or does not
 * have it yet (a server restored from a copy), the list is made again and compared with what was known: missed changes
 * are told then, deletions included. A watch that says nothing for longer than the server may be silent is cut off
 * (a connection that is open at one end only). Between attempts the pause grows to `maxPauseMs`, each with jitter, so
 * that a thousand nodes do not come back at once. What was known stays known during an outage; `state.live` says so.
 */
import { systemClock } from "../clock.js";
import { pause } from "../registry/pause.js";
import { isStatusError, type StatusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import type { KubernetesApi } from "./api.js";
import { isApiError, noAnswer, refusal } from "./api-error.js";
import { createObjectCache, type ObjectChange } from "./object-cache.js";
import { type KubernetesObject, pathOf, type Resource } from "./resource.js";
import { watchEvents } from "./watch-events.js";

export interface ListWatchState {
  /** Everything has been listed at least once. */
  readonly synced: boolean;
  /** A watch is open: what is known is what is there, but for a moment. */
  readonly live: boolean;
  /** Since when `live` is as it is, milliseconds since the epoch. */
  readonly sinceMs: number;
  /** Why it is not live. */
  readonly problem: StatusError | undefined;
}

export interface ListWatchOptions<T extends KubernetesObject> {
  readonly api: KubernetesApi;
  readonly resource: Resource;
  /** Default: all. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly log: Log;
  /** Makes an object smaller before it is kept and told. */
  readonly trim?: (object: KubernetesObject) => T;
  /** Is told of each change in order, a list's by age. Must not throw. */
  readonly onChange?: (change: ObjectChange<T>) => void;
  readonly onState?: (state: ListWatchState) => void;
  readonly timing?: Partial<Timing>;
}

export interface Timing {
  /** After this the server ends a watch, milliseconds; whole seconds are used. Default 60,000. */
  readonly watchMs: number;
  /** A watch that lives this much longer than agreed is cut off. Default 5,000. */
  readonly graceMs: number;
  /** For each page of a list, and for a watch to begin. Default 30,000. */
  readonly answerMs: number;
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
  readonly pageSize: number;
}

const defaults: Timing = {
  watchMs: 60_000,
  graceMs: 5_000,
  answerMs: 30_000,
  firstPauseMs: 200,
  maxPauseMs: 5_000,
  pageSize: 500,
};

export interface ListWatch<T extends KubernetesObject> {
  /** By `keyOf`. */
  readonly objects: ReadonlyMap<string, T>;
  readonly state: ListWatchState;
  /** Resolves when everything has been listed once; rejects with the last problem when `signal` aborts before. */
  synced(signal: AbortSignal): Promise<void>;
  /** Enters what a call of our own has just got back, unless something later is known already. */
  learn(object: KubernetesObject): void;
  /** Takes out what a call of our own has deleted; the watch will not bring it back. */
  forget(object: KubernetesObject): void;
  /** Ends the watch under way and goes on with a new one; for who knows that something is missing. */
  restart(): void;
  stop(): Promise<void>;
}

export function listWatch<T extends KubernetesObject>(options: ListWatchOptions<T>): ListWatch<T> {
  const { api, resource, log, trim = (object) => object as T } = options;
  const timing = { ...defaults, ...options.timing };
  const path = pathOf(resource, options.namespace === undefined ? {} : { namespace: options.namespace });
  const selectors = { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
  const cache = createObjectCache<T>((change) => options.onChange?.(change), trim);
  const stopped = new AbortController();
  const waiting = new Set<() => void>();
  let state: ListWatchState = { synced: false, live: false, sinceMs: Date.now(), problem: undefined };
  let cutWatch = (): void => {};

  function setState(next: Partial<ListWatchState>): void {
    const { synced, live, problem } = { ...state, ...next };
    if (live === state.live && synced === state.synced && problem?.details === state.problem?.details) return;
    const sinceMs = live === state.live ? state.sinceMs : Date.now();
    const about = { resource: resource.plural, forMs: Date.now() - state.sinceMs };
    if (live && state.problem !== undefined) log.info("the watch of the Kubernetes API goes on", about);
    else if (!live && state.live)
      log.warn("the watch of the Kubernetes API is down; what is known is kept", { ...about, error: problem });
    else if (problem !== undefined) log.warn("the Kubernetes API cannot be watched", { ...about, error: problem });
    state = { synced, live, sinceMs, problem };
    options.onState?.(state);
    if (synced) for (const wake of [...waiting]) wake();
  }

  /** @returns the resource version to watch from */
  async function list(): Promise<string> {
    const items: KubernetesObject[] = [];
    let version = "";
    let continueFrom: string | undefined;
    do {
      const page: { metadata?: { resourceVersion?: string; continue?: string }; items?: KubernetesObject[] | null } =
        await api.call({
          path,
          query: { ...selectors, limit: timing.pageSize, continue: continueFrom },
          signal: stopped.signal,
          timeoutMs: timing.answerMs,
        });
      for (const item of page.items ?? []) items.push(asListed(item, resource));
      version = page.metadata?.resourceVersion ?? "";
      continueFrom = page.metadata?.continue || undefined;
    } while (continueFrom !== undefined);
    cache.list(items, version);
    return version;
  }

  /** Watches until the watch ends. @returns the version to go on from (undefined = list again), and what went wrong */
  async function watch(from: string): Promise<{ version: string | undefined; problem?: StatusError }> {
    // not all at the same second
    const seconds = Math.max(1, Math.round((timing.watchMs / 1_000) * (0.8 + 0.2 * Math.random())));
    const cut = new AbortController();
    cutWatch = () => cut.abort(new Error("it was ended to begin another"));
    const silent = setTimeout(
      () => cut.abort(new Error(`nothing ended a watch of ${seconds} s: its connection is dead`)),
      seconds * 1_000 + timing.graceMs,
    );
    const signal = AbortSignal.any([stopped.signal, cut.signal]);
    let version = from;
    try {
      const query = { ...selectors, watch: 1, allowWatchBookmarks: true, resourceVersion: from, timeoutSeconds: seconds };
      const response = await api.open({ path, query, signal, timeoutMs: timing.answerMs });
      setState({ live: true, problem: undefined });
      for await (const { type, object } of watchEvents<KubernetesObject>(response)) {
        if (type === "ERROR") throw refusal(`watch ${path}`, codeOf(object), object);
        if (type !== "BOOKMARK") cache.event(type, object);
        version = object.metadata.resourceVersion ?? version;
      }
      return { version };
    } catch (error) {
      if (isApiError(error) && (error.httpStatus === 410 || isFromTheFuture(error))) return { version: undefined };
      if (cut.signal.aborted && !stopped.signal.aborted) {
        // the state stays live: a new watch follows at once and says whether it is
        log.info("a watch of the Kubernetes API was cut off", { resource: resource.plural, error: cut.signal.reason });
        return { version };
      }
      const problem = isStatusError(error) ? error : noAnswer(`watch ${path}`, api.connection.server, error);
      return { version, problem };
    } finally {
      clearTimeout(silent);
      cutWatch = () => {};
    }
  }

  /** One step: a list if one is due, then a watch until it ends. */
  async function step(version: string | undefined): Promise<{ version: string | undefined; problem?: StatusError }> {
    try {
      const from = version ?? (await list());
      setState({ synced: true });
      return await watch(from);
    } catch (error) {
      return { version: undefined, problem: toStatusError(error) };
    }
  }

  async function run(): Promise<void> {
    let version: string | undefined;
    let failures = 0;
    while (!stopped.signal.aborted) {
      const startedMs = Date.now();
      const ended = await step(version);
      if (stopped.signal.aborted) return;
      version = ended.version;
      if (ended.problem === undefined) {
        failures = 0;
        // a server that ends every watch at once is not asked a hundred times a second
        if (Date.now() - startedMs < timing.firstPauseMs) await pause(systemClock, timing.firstPauseMs, stopped.signal);
        continue;
      }
      failures++;
      // more than a few failures in a row: the version may be what it stumbles over
      if (failures % 5 === 0) version = undefined;
      setState({ live: false, problem: ended.problem });
      const boundMs = Math.min(timing.maxPauseMs, timing.firstPauseMs * 2 ** Math.min(failures - 1, 10));
      await pause(systemClock, boundMs * (0.5 + 0.5 * Math.random()), stopped.signal);
    }
  }

  const running = run();
  return {
    objects: cache.objects,
    get state() {
      return state;
    },
    async synced(signal) {
      while (!state.synced) {
        if (signal.aborted || stopped.signal.aborted)
          throw state.problem ?? toStatusError(signal.reason ?? stopped.signal.reason);
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            waiting.delete(wake);
            signal.removeEventListener("abort", wake);
            resolve();
          };
          waiting.add(wake);
          signal.addEventListener("abort", wake, { once: true });
        });
      }
    },
    learn: cache.learn,
    forget: cache.forget,
    restart: () => cutWatch(),
    async stop() {
      stopped.abort(new Error("the watch was stopped"));
      for (const wake of [...waiting]) wake();
      await running;
    },
  };
}

/** Items of a list lack what the list says for all. */
function asListed(item: KubernetesObject, { group, version, kind }: Resource): KubernetesObject {
  return item.kind === undefined ? { apiVersion: group === "" ? version : `${group}/${version}`, kind, ...item } : item;
}

function codeOf(status: unknown): number {
  const { code } = status as { code?: unknown };
  return typeof code === "number" ? code : 500;
}

/** A server that was set back does not know our version yet, and says so in words only (apiserver/pkg/storage/errors.go). */
function isFromTheFuture({ httpStatus, details }: { httpStatus: number; details: string }): boolean {
  return httpStatus === 504 && details.includes("Too large resource version");
}
