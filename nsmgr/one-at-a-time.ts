/**
 * one-at-a-time — what happens to one entry happens in the order in which it was asked for.
 * Does:   queues the calls of one name; other names do not wait
 * Fails:  never of itself
 */
import type { RegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";

export function oneAtATime<T extends { readonly name: string }>(): Element<RegistryApi<T>> {
  const last = new Map<string, Promise<unknown>>();
  const queue = async <R>(name: string, run: () => Promise<R>): Promise<R> => {
    const before = last.get(name) ?? Promise.resolve();
    const mine = before.then(run);
    const settled = mine.catch(() => undefined);
    last.set(name, settled);
    try {
      return await mine;
    } finally {
      if (last.get(name) === settled) last.delete(name);
    }
  };
  return {
    name: "one-at-a-time",
    steps: {
      register: (entry, _context, rest) => queue(entry.name, () => rest.register(entry)),
      unregister: (entry, _context, rest) => queue(entry.name, () => rest.unregister(entry)),
    },
  };
}
