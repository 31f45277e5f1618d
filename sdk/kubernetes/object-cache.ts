/**
 * What is known of a kind's objects: lists, events of a watch and answers to calls of our own, in whatever order they
 * come in, become one sequence of changes. No clock, no socket.
 */
import { isLater, type KubernetesObject, keyOf } from "./resource.js";

/** Without `previous` the object is new; without `next` it is gone. */
export interface ObjectChange<T> {
  readonly previous: T | undefined;
  readonly next: T | undefined;
}

export interface ObjectCache<T extends KubernetesObject> {
  /** By `keyOf`. */
  readonly objects: ReadonlyMap<string, T>;
  /** A whole list and its resource version: what it does not hold is gone, unless it was learned since. */
  list(items: readonly KubernetesObject[], version: string): void;
  /** One event of a watch. */
  event(type: "ADDED" | "MODIFIED" | "DELETED", object: KubernetesObject): void;
  /** Enters what a call of our own has just got back, unless something later is known already. */
  learn(object: KubernetesObject): void;
  /** Takes out what a call of our own has deleted; neither list nor watch will bring it back. */
  forget(object: KubernetesObject): void;
}

export function createObjectCache<T extends KubernetesObject>(
  tell: (change: ObjectChange<T>) => void,
  trim: (object: KubernetesObject) => T,
): ObjectCache<T> {
  const objects = new Map<string, T>();
  /** Uids of what we have deleted and the watch has not told yet. */
  const forgotten = new Set<string>();
  let lastVersion = "0";

  function put(object: KubernetesObject): void {
    const key = keyOf(object);
    const previous = objects.get(key);
    const next = trim(object);
    objects.set(key, next);
    if (previous !== undefined && previous.metadata.uid !== next.metadata.uid) {
      // deleted and made again, and nobody told us of the first half
      tell({ previous, next: undefined });
      tell({ previous: undefined, next });
    } else tell({ previous, next });
  }

  function remove(key: string): void {
    const previous = objects.get(key);
    if (previous === undefined) return;
    objects.delete(key);
    tell({ previous, next: undefined });
  }

  function enter(object: KubernetesObject): void {
    if (forgotten.has(uidOf(object))) return;
    const known = objects.get(keyOf(object));
    if (known === undefined || isLater(versionOf(object), versionOf(known))) put(object);
  }

  return {
    objects,
    list(items, version) {
      // a server set back to a copy: what is known from its lost future is void
      const isSetBack = isLater(lastVersion, version);
      lastVersion = version;
      const isLearnedSince = (known: T): boolean => !isSetBack && isLater(versionOf(known), version);
      const found = new Map(items.map((item) => [keyOf(item), item]));
      for (const [key, known] of [...objects]) if (!found.has(key) && !isLearnedSince(known)) remove(key);
      for (const item of [...found.values()].sort(byAge)) {
        if (forgotten.has(uidOf(item))) continue;
        const known = objects.get(keyOf(item));
        if (known === undefined || (!isLearnedSince(known) && versionOf(known) !== versionOf(item))) put(item);
      }
      const uids = new Set(items.map(uidOf));
      for (const uid of forgotten) if (!uids.has(uid)) forgotten.delete(uid);
    },
    event(type, object) {
      const version = versionOf(object);
      if (isLater(version, lastVersion)) lastVersion = version;
      if (type !== "DELETED") {
        enter(object);
        return;
      }
      forgotten.delete(uidOf(object));
      const known = objects.get(keyOf(object));
      if (known !== undefined && uidOf(known) === uidOf(object)) remove(keyOf(object));
    },
    learn: enter,
    forget(object) {
      const known = objects.get(keyOf(object));
      // not known: the watch was faster, and nothing more is to come
      if (known === undefined || uidOf(known) !== uidOf(object)) return;
      forgotten.add(uidOf(object));
      remove(keyOf(object));
    },
  };
}

const uidOf = ({ metadata: { uid } }: KubernetesObject): string => uid ?? "";
const versionOf = ({ metadata: { resourceVersion } }: KubernetesObject): string => resourceVersion ?? "0";

function byAge(a: KubernetesObject, b: KubernetesObject): number {
  const [made, other] = [a.metadata.creationTimestamp ?? "", b.metadata.creationTimestamp ?? ""];
  if (made !== other) return made < other ? -1 : 1;
  return isLater(versionOf(a), versionOf(b)) ? 1 : -1;
}
