/** The entries of one kind in memory, with their indexes; every store keeps one. */
import type { Entry, Kind } from "../kind.js";
import type { Change, Place, Table } from "./store.js";
import { createUrlIndex } from "./url-index.js";

export interface WritableTable<T extends Entry> extends Table<T> {
  /** Puts an entry under its name, or removes what is there, and tells the subscribers. */
  put(entry: T): void;
  remove(name: string): void;
}

interface MutablePlace<T> {
  readonly order: number;
  entry: T | undefined;
  dueMs: number;
}

export function createTable<T extends Entry>(kind: Kind<T>): WritableTable<T> {
  const byName = new Map<string, MutablePlace<T>>();
  const byService = new Map<string, Set<MutablePlace<T>>>();
  const byUrl = createUrlIndex<MutablePlace<T>>();
  const listeners = new Set<(change: Change<T>) => void>();
  let lastOrder = 0;

  function enter(place: MutablePlace<T>, entry: T): void {
    for (const service of kind.services(entry)) {
      const places = byService.get(service);
      if (places === undefined) byService.set(service, new Set([place]));
      else places.add(place);
    }
    const url = kind.url(entry);
    if (url !== "") byUrl.add(url, place);
  }

  function leave(place: MutablePlace<T>, entry: T): void {
    for (const service of kind.services(entry)) {
      const places = byService.get(service);
      places?.delete(place);
      if (places?.size === 0) byService.delete(service);
    }
    const url = kind.url(entry);
    if (url !== "") byUrl.remove(url, place);
  }

  function tell(place: Place<T>, previous: T | undefined, next: T | undefined): void {
    const change = { place, previous, next };
    for (const listener of listeners) listener(change);
  }

  /** The smallest set of places that holds everything the query can mean. */
  function candidates(query: T): Iterable<MutablePlace<T>> {
    if (query.name !== "") {
      const place = byName.get(query.name);
      return place === undefined ? [] : [place];
    }
    let best: Iterable<MutablePlace<T>> = byName.values();
    let bestSize = byName.size;
    for (const service of kind.services(query)) {
      const places = byService.get(service);
      if (places === undefined) return [];
      if (places.size < bestSize) [best, bestSize] = [places, places.size];
    }
    const part = kind.url(query);
    return part === "" ? best : (placesByUrl(part, bestSize) ?? best);
  }

  /** Undefined if the url means more places than `limit`. */
  function placesByUrl(part: string, limit: number): MutablePlace<T>[] | undefined {
    const found: MutablePlace<T>[] = [];
    for (const places of byUrl.find(part)) {
      if (found.length + places.size > limit) return undefined;
      for (const place of places) found.push(place);
    }
    return found;
  }

  return {
    get size() {
      return byName.size;
    },
    get: (name) => byName.get(name)?.entry,
    select(query) {
      const found: Place<T>[] = [];
      let sorted = true;
      let last = 0;
      for (const place of candidates(query)) {
        if (place.entry === undefined || !kind.matches(query, place.entry)) continue;
        sorted &&= place.order > last;
        last = place.order;
        found.push(place);
      }
      return sorted ? found : found.sort((a, b) => a.order - b.order);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    put(entry) {
      const place = byName.get(entry.name);
      if (place === undefined) {
        const made: MutablePlace<T> = { order: ++lastOrder, entry: kind.compact(entry, undefined), dueMs: 0 };
        const kept = made.entry as T;
        byName.set(kept.name, made);
        enter(made, kept);
        tell(made, undefined, kept);
        return;
      }
      const previous = place.entry as T;
      const kept = kind.compact(entry, previous);
      place.entry = kept;
      // A refresh leaves the indexes alone.
      if (kind.url(kept) !== kind.url(previous) || !sameNames(kind.services(kept), kind.services(previous))) {
        leave(place, previous);
        enter(place, kept);
      }
      tell(place, previous, kept);
    },
    remove(name) {
      const place = byName.get(name);
      if (place === undefined) return;
      const previous = place.entry as T;
      byName.delete(name);
      leave(place, previous);
      place.entry = undefined;
      tell(place, previous, undefined);
    },
    places: () => byName.values(),
  };
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((name, i) => name === b[i]));
}
