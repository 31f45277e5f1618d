/** A registry in this process for tests of its users: counts what it is asked, and fails on demand. */
import type { Found, Registry } from "../api.js";

export interface FakeRegistry<T> extends Registry<T> {
  readonly entries: Map<string, T>;
  /** Calls so far. */
  readonly counts: { register: number; unregister: number; find: number; watch: number };
  /** Set: every call fails with it. */
  failure: Error | undefined;
  /** What `register` answers and stores; default: the entry as it came. */
  answer: (entry: T) => T;
  /** Ends every open watch, with an error or plainly. */
  endWatches(error?: Error): void;
  readonly openWatches: number;
}

interface Watch<T> {
  readonly query: T;
  readonly pending: (Found<T> | Error | "end")[];
  wake: () => void;
}

export function createFakeRegistry<T extends { readonly name: string }>(
  matches: (query: T, entry: T) => boolean,
): FakeRegistry<T> {
  const entries = new Map<string, T>();
  const watches = new Set<Watch<T>>();
  const counts = { register: 0, unregister: 0, find: 0, watch: 0 };
  const tell = (item: Found<T> | Error | "end"): void => {
    for (const watch of watches) {
      if (typeof item === "object" && "entry" in item && !matches(watch.query, item.entry)) continue;
      watch.pending.push(item);
      watch.wake();
    }
  };
  const fake: FakeRegistry<T> = {
    entries,
    counts,
    failure: undefined,
    answer: (entry) => entry,
    get openWatches() {
      return watches.size;
    },
    endWatches: (error) => tell(error ?? "end"),
    async register(entry) {
      counts.register++;
      if (fake.failure !== undefined) throw fake.failure;
      const answer = fake.answer(entry);
      entries.set(entry.name, answer);
      tell({ entry: answer, deleted: false });
      return answer;
    },
    async unregister({ name }) {
      counts.unregister++;
      if (fake.failure !== undefined) throw fake.failure;
      const entry = entries.get(name);
      if (entry !== undefined && entries.delete(name)) tell({ entry, deleted: true });
    },
    async *find(query, { watch, signal }) {
      counts[watch ? "watch" : "find"]++;
      if (fake.failure !== undefined) throw fake.failure;
      const found = [...entries.values()].filter((entry) => matches(query, entry)).map((entry) => ({ entry, deleted: false }));
      if (!watch) return yield* found;
      const self: Watch<T> = { query, pending: found, wake: () => {} };
      watches.add(self);
      try {
        for (;;) {
          for (let item = self.pending.shift(); item !== undefined; item = self.pending.shift()) {
            if (item === "end") return;
            if (item instanceof Error) throw item;
            yield item;
          }
          if (signal.aborted) throw signal.reason;
          await new Promise<void>((resolve) => {
            self.wake = resolve;
            signal.addEventListener("abort", () => resolve(), { once: true });
          });
        }
      } finally {
        watches.delete(self);
      }
    },
  };
  return fake;
}
