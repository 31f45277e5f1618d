/**
 * Find and watch over a table: what is there now, oldest first, then each change once and in order.
 *
 * A watcher pulls. Changes wait for it in a buffer of its own, shared objects only; when that is full the watcher is
 * dropped with RESOURCE_EXHAUSTED, which tells it to find again. Nobody waits for it. The first list is read from the
 * table while it is sent, and what changes in its unsent part is not buffered, so a long list needs no long buffer.
 */
import type { Found } from "../sdk/api.js";
import { Code, type StatusError, statusError } from "../sdk/status.js";
import type { Entry, Kind } from "./kind.js";
import type { Change, Place, Table } from "./store/store.js";

export interface Finder<T> {
  find(query: T, options: { watch: boolean; signal: AbortSignal }): AsyncIterable<Found<T>>;
  /** Watches open now. */
  readonly watchers: number;
  /** Watches ended because their readers were too slow, since the start. */
  readonly dropped: number;
  /** Stops following the table. Open watches hear nothing more. */
  close(): void;
}

export interface FinderOptions {
  /** Changes that may wait for one watcher. Default 4,096. */
  readonly maxWaiting?: number;
}

interface Watcher<T> {
  readonly query: T;
  /** The first list and how much of it is sent. */
  list: readonly Place<T>[];
  sent: number;
  /** Changes not yet sent; `taken` of them are. */
  waiting: Found<T>[];
  taken: number;
  failure: StatusError | undefined;
  wake: (() => void) | undefined;
  /** Takes it out of the index. */
  forget: () => void;
}

export function createFinder<T extends Entry>(table: Table<T>, kind: Kind<T>, options: FinderOptions = {}): Finder<T> {
  const { maxWaiting = 4_096 } = options;
  // By what a query names: a change looks only at watchers it can concern.
  const byKey = new Map<string, Set<Watcher<T>>>();
  let watchers = 0;
  let dropped = 0;

  function watch(watcher: Watcher<T>): () => void {
    const key = keyOf(kind, watcher.query);
    const set = byKey.get(key) ?? new Set();
    byKey.set(key, set.add(watcher));
    watchers++;
    return () => {
      if (!set.delete(watcher)) return;
      watchers--;
      if (set.size === 0 && byKey.get(key) === set) byKey.delete(key);
    };
  }

  const close = table.subscribe((change) => {
    if (watchers === 0) return;
    // One object for all watchers, so that it is encoded once.
    const updated = change.next === undefined ? undefined : { entry: change.next, deleted: false };
    const gone = change.previous === undefined ? undefined : { entry: change.previous, deleted: true };
    for (const key of keysOf(kind, change)) {
      for (const watcher of byKey.get(key) ?? []) {
        if (isUnsent(watcher, change.place)) continue;
        if (updated !== undefined && kind.matches(watcher.query, updated.entry)) push(watcher, updated);
        else if (gone !== undefined && kind.matches(watcher.query, gone.entry)) push(watcher, gone);
      }
    }
  });

  function push(watcher: Watcher<T>, found: Found<T>): void {
    if (watcher.failure !== undefined) return;
    if (watcher.waiting.length - watcher.taken >= maxWaiting) {
      dropped++;
      watcher.failure = statusError(
        Code.RESOURCE_EXHAUSTED,
        `this watch of ${kind.noun}s is too slow: ${maxWaiting} changes were waiting; find again, what you know may be out of date`,
      );
      // it is told when it reads; until then nobody looks at it
      Object.assign(watcher, { waiting: [], taken: 0, list: [], sent: 0 });
      watcher.forget();
    } else {
      watcher.waiting.push(found);
    }
    watcher.wake?.();
  }

  async function* follow(query: T, signal: AbortSignal): AsyncGenerator<Found<T>> {
    const watcher: Watcher<T> = {
      query,
      list: table.select(query),
      sent: 0,
      waiting: [],
      taken: 0,
      failure: undefined,
      wake: undefined,
      forget() {},
    };
    watcher.forget = watch(watcher);
    const wake = (): void => watcher.wake?.();
    signal.addEventListener("abort", wake);
    try {
      while (!signal.aborted) {
        if (watcher.failure !== undefined) throw watcher.failure;
        const found = takeWaiting(watcher) ?? takeListed(watcher, kind);
        if (found !== undefined) {
          yield found;
          continue;
        }
        await new Promise<void>((resolve) => {
          watcher.wake = resolve;
        });
        watcher.wake = undefined;
      }
    } finally {
      signal.removeEventListener("abort", wake);
      watcher.forget();
    }
  }

  return {
    async *find(query, { watch, signal }) {
      if (watch) {
        yield* follow(query, signal);
        return;
      }
      for (const { entry } of table.select(query)) {
        if (signal.aborted) return;
        if (entry !== undefined && kind.matches(query, entry)) yield { entry, deleted: false };
      }
    },
    get watchers() {
      return watchers;
    },
    get dropped() {
      return dropped;
    },
    close,
  };
}

/** Will the first list still come to this place? Then it brings the entry as it is by then. */
function isUnsent<T>({ list, sent }: Watcher<T>, place: Place<T>): boolean {
  let low = sent;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((list[middle] as Place<T>).order < place.order) low = middle + 1;
    else high = middle;
  }
  return list[low] === place;
}

function takeWaiting<T>(watcher: Watcher<T>): Found<T> | undefined {
  const found = watcher.waiting[watcher.taken];
  if (found === undefined) return undefined;
  watcher.taken++;
  if (watcher.taken === watcher.waiting.length) Object.assign(watcher, { waiting: [], taken: 0 });
  else if (watcher.taken >= 1_024) Object.assign(watcher, { waiting: watcher.waiting.slice(watcher.taken), taken: 0 });
  return found;
}

function takeListed<T extends Entry>(watcher: Watcher<T>, kind: Kind<T>): Found<T> | undefined {
  while (watcher.sent < watcher.list.length) {
    const entry = watcher.list[watcher.sent++]?.entry;
    if (watcher.sent === watcher.list.length) Object.assign(watcher, { list: [], sent: 0 });
    if (entry !== undefined && kind.matches(watcher.query, entry)) return { entry, deleted: false };
  }
  return undefined;
}

/** Where a watcher is kept. */
function keyOf<T extends Entry>(kind: Kind<T>, query: T): string {
  if (query.name !== "") return `name ${query.name}`;
  const [service] = kind.services(query);
  return service === undefined ? "all" : `service ${service}`;
}

/** Where the watchers are kept that a change may concern. */
function keysOf<T extends Entry>(kind: Kind<T>, { previous, next }: Change<T>): Set<string> {
  const keys = new Set(["all"]);
  for (const entry of [previous, next]) {
    if (entry === undefined) continue;
    keys.add(`name ${entry.name}`);
    for (const service of kind.services(entry)) keys.add(`service ${service}`);
  }
  return keys;
}
