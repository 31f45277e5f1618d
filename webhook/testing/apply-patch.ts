/** Applies the verbs of RFC 6902 that the webhook uses, as strictly as the apiserver does. */
import type { PatchOperation } from "../objects.js";

/** @throws where a parent is missing, or what is to be removed is not there */
export function applyPatch(object: unknown, patch: readonly PatchOperation[]): unknown {
  const result: unknown = structuredClone(object);
  for (const operation of patch) {
    const names = operation.path
      .split("/")
      .slice(1)
      .map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = names.pop() ?? "";
    const parent = names.reduce<unknown>((here, name) => (here as Record<string, unknown> | undefined)?.[name], result);
    if (typeof parent !== "object" || parent === null) throw new Error(`${operation.path}: its parent is missing`);
    if (Array.isArray(parent)) {
      if (operation.op !== "add") throw new Error(`${operation.path}: only adding is known here`);
      const index = last === "-" ? parent.length : Number(last);
      if (!(index <= parent.length)) throw new Error(`${operation.path}: beyond the end`);
      parent.splice(index, 0, operation.value);
      continue;
    }
    const fields = parent as Record<string, unknown>;
    if (operation.op === "add") fields[last] = structuredClone(operation.value);
    else if (!Object.hasOwn(fields, last)) throw new Error(`${operation.path}: there is nothing`);
    else if (operation.op === "remove") delete fields[last];
    else fields[last] = operation.value;
  }
  return result;
}
