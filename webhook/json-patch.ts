/** Makes JSON patches (RFC 6902) that add to what is there and never replace a list or a map that others write to as well. */
import { at, fieldsOf, type PatchOperation } from "./objects.js";

export interface Patch {
  /** Puts items at the end of a list; makes the list where it is missing. */
  append(list: readonly string[], items: readonly unknown[]): void;
  /** Sets keys of a map; those that have the value already are left out. */
  set(map: readonly string[], entries: Readonly<Record<string, string>>): void;
  /** Removes a key of a map where it is. */
  remove(map: readonly string[], key: string): void;
  /** Every operation in order; none = nothing is to do. */
  readonly operations: readonly PatchOperation[];
}

/** @param object  what the patch will be applied to */
export function patchOf(object: unknown): Patch {
  const operations: PatchOperation[] = [];
  /** Containers that this patch has made already. */
  const made = new Set<string>();

  function ensure(path: readonly string[], empty: unknown): void {
    for (let length = 1; length <= path.length; length++) {
      const part = path.slice(0, length);
      const pointer = pointerOf(part);
      const here = at(object, part);
      if ((here !== undefined && here !== null) || made.has(pointer)) continue;
      operations.push({ op: "add", path: pointer, value: length === path.length ? empty : {} });
      made.add(pointer);
    }
  }

  return {
    operations,
    append(list, items) {
      if (items.length === 0) return;
      ensure(list, []);
      for (const value of items) operations.push({ op: "add", path: `${pointerOf(list)}/-`, value });
    },
    set(map, entries) {
      const present = fieldsOf(at(object, map)) ?? {};
      const news = Object.entries(entries).filter(([key, value]) => !Object.hasOwn(present, key) || present[key] !== value);
      if (news.length === 0) return;
      ensure(map, {});
      for (const [key, value] of news) operations.push({ op: "add", path: pointerOf([...map, key]), value });
    },
    remove(map, key) {
      if (at(object, [...map, key]) !== undefined) operations.push({ op: "remove", path: pointerOf([...map, key]) });
    },
  };
}

function pointerOf(path: readonly string[]): string {
  return path.map((name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}
