/**
 * look-up — what stands under the entry's name now. Later elements decide by it, and the store refuses a change that is
 * based on something older; then everything after this element runs again.
 * Adds:  current (undefined = the name is free)
 * Fails: ABORTED when the name changes faster than this call can decide
 */
import type { RegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import { Code, isStatusError } from "../sdk/status.js";
import type { Entry } from "./kind.js";
import type { Table } from "./store/store.js";

export interface HasCurrent<T> {
  readonly current: T | undefined;
}

const maxTries = 100;

export function lookUp<T extends Entry>(table: Table<T>): Element<RegistryApi<T>, object, HasCurrent<T>> {
  async function untilCurrent<R>(name: string, signal: AbortSignal, run: (adds: HasCurrent<T>) => Promise<R>): Promise<R> {
    for (let tries = 1; ; tries++) {
      try {
        return await run({ current: table.get(name) });
      } catch (error) {
        if (!isStatusError(error) || error.code !== Code.ABORTED || tries === maxTries) throw error;
        signal.throwIfAborted();
      }
    }
  }
  return {
    name: "look-up",
    steps: {
      register: (entry, { signal }, rest) => untilCurrent(entry.name, signal, (adds) => rest.register(entry, adds)),
      unregister: (entry, { signal }, rest) => untilCurrent(entry.name, signal, (adds) => rest.unregister(entry, adds)),
    },
  };
}
