/**
 * Which object stands for a name. Kubernetes lets two namespaces have objects that mean the same name in the mesh, and
 * objects that mean nothing; here is decided, the same by every replica, which one counts: one in the registry's own
 * namespace before others, then the oldest.
 */
import { keyOf } from "../../../sdk/kubernetes/resource.js";
import type { Entry } from "../../kind.js";
import type { ReadObject } from "./object.js";

export interface Standing<T extends Entry> {
  /** The object's entry; for one that cannot be read (any more) the last that could be. */
  readonly entry: T | undefined;
  readonly object: ReadObject<T>;
}

export interface Names<T extends Entry> {
  /** Takes in a change of an object. @returns the names that may have got another object */
  change(previous: ReadObject<T> | undefined, next: ReadObject<T> | undefined): ReadonlySet<string>;
  /** The object that counts for a name. */
  winner(name: string): Standing<T> | undefined;
  /** All objects of a name. */
  all(name: string): readonly Standing<T>[];
  byKey(key: string): Standing<T> | undefined;
}

export function createNames<T extends Entry>(ownNamespace: string): Names<T> {
  const byKey = new Map<string, Standing<T>>();
  const keysByName = new Map<string, Set<string>>();

  function enter(name: string | undefined, key: string): void {
    if (name === undefined) return;
    const keys = keysByName.get(name);
    if (keys === undefined) keysByName.set(name, new Set([key]));
    else keys.add(key);
  }

  function leave(name: string | undefined, key: string): void {
    if (name === undefined) return;
    const keys = keysByName.get(name);
    keys?.delete(key);
    if (keys?.size === 0) keysByName.delete(name);
  }

  function before(a: Standing<T>, b: Standing<T>): number {
    const [x, y] = [a.object.metadata, b.object.metadata];
    const isOwn = (namespace: string | undefined): number => (namespace === ownNamespace ? 0 : 1);
    return (
      isOwn(x.namespace) - isOwn(y.namespace) ||
      compare(x.creationTimestamp ?? "", y.creationTimestamp ?? "") ||
      compare(x.uid ?? "", y.uid ?? "")
    );
  }

  function all(name: string): Standing<T>[] {
    const found = [...(keysByName.get(name) ?? [])].map((key) => byKey.get(key));
    return found.filter((one) => one !== undefined).sort(before);
  }

  return {
    all,
    byKey: (key) => byKey.get(key),
    winner: (name) => all(name)[0],
    change(previous, next) {
      const object = next ?? previous;
      if (object === undefined) return new Set();
      const key = keyOf(object);
      const known = byKey.get(key);
      leave(known?.entry?.name, key);
      // nonsense takes nothing away from what was there
      const entry = next === undefined ? undefined : (next.entry ?? known?.entry);
      if (next === undefined) byKey.delete(key);
      else byKey.set(key, { entry, object: next });
      enter(entry?.name, key);
      return new Set([known?.entry?.name, entry?.name].filter((name) => name !== undefined));
    },
  };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
