/** A store that keeps nothing: what was registered is gone when the process ends. */
import { Code, statusError } from "../../sdk/status.js";
import { type Entry, endpointKind, type Kind, serviceKind } from "../kind.js";
import type { Store, Stores } from "./store.js";
import { createTable } from "./table.js";

export function createMemoryStores(): Stores {
  return { services: memoryStore(serviceKind), endpoints: memoryStore(endpointKind), async close() {} };
}

function memoryStore<T extends Entry>(kind: Kind<T>): Store<T> {
  const table = createTable(kind);
  return {
    table,
    async replace(name, expected, next) {
      if (table.get(name) !== expected) throw overtaken(kind.noun, name);
      if (next === undefined) table.remove(name);
      else table.put(next);
    },
  };
}

/** What `replace` answers when the entry is not the expected one any more. */
export function overtaken(noun: string, name: string): Error {
  return statusError(Code.ABORTED, `${noun} ${name} has been changed at the same time by another call: read it again`);
}
