import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Found } from "../sdk/api.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code } from "../sdk/status.js";
import { createFinder } from "./find.js";
import { endpointKind } from "./kind.js";
import { createTable } from "./store/table.js";
import { endpoint } from "./test-registry.js";

const everything = endpoint("");

test("a change is one object for all its watchers, so that it can be encoded once", async () => {
  const { table, finder } = start();
  const signal = new AbortController().signal;
  const watches = [everything, endpoint("a"), endpoint("", { network_service_names: ["s"] })].map((query) =>
    finder.find(query, { watch: true, signal })[Symbol.asyncIterator](),
  );
  const firsts = watches.map((watch) => watch.next());
  table.put(endpoint("a", { network_service_names: ["s"] }));
  const [first, ...others] = (await Promise.all(firsts)).map(({ value }) => value);
  assert.ok(others.every((other) => other === first));
  for (const watch of watches) await watch.return?.();
  assert.equal(finder.watchers, 0);
});

test("a watcher that does not keep up is dropped with RESOURCE_EXHAUSTED; others get every change", async () => {
  const { table, finder } = start(10);
  const signal = new AbortController().signal;
  table.put(endpoint("a"));
  const slow = finder.find(everything, { watch: true, signal })[Symbol.asyncIterator]();
  const quick = finder.find(everything, { watch: true, signal })[Symbol.asyncIterator]();
  await slow.next();
  const told: string[] = [(await quick.next()).value.entry.url];
  for (let i = 0; i < 50; i++) {
    table.put(endpoint("a", { url: `${i}` }));
    told.push((await quick.next()).value.entry.url);
  }
  assert.deepEqual(told, ["", ...Array.from({ length: 50 }, (_, i) => `${i}`)]);
  await assert.rejects(slow.next(), { code: Code.RESOURCE_EXHAUSTED, message: /find again/ });
  assert.equal(finder.dropped, 1);
  assert.equal(finder.watchers, 1);
  await quick.return?.();
});

test("a long first list needs no buffer for what changes in its unsent part", async () => {
  const { table, finder } = start(10);
  const signal = new AbortController().signal;
  const count = 5_000;
  for (let i = 0; i < count; i++) table.put(endpoint(`e${i}`));
  const seen = new Map<string, string>();
  let received = 0;
  for await (const { entry } of finder.find(everything, { watch: true, signal })) {
    received++;
    seen.set(entry.name, entry.url);
    // Half of the changes are in the sent part, so the reader is twice as quick as the change.
    if (received % 2 === 0) table.put(endpoint(`e${(received * 7_919) % count}`, { url: `${received}` }));
    if (seen.size === count) break;
  }
  assert.equal(finder.dropped, 0);
});

test("a finished or aborted watch leaves nothing behind", async () => {
  const { table, finder } = start();
  const controller = new AbortController();
  const watch = finder.find(everything, { watch: true, signal: controller.signal })[Symbol.asyncIterator]();
  const next = watch.next();
  await new Promise(setImmediate);
  assert.equal(finder.watchers, 1);
  controller.abort();
  assert.equal((await next).done, true);
  assert.equal(finder.watchers, 0);
  const aborted = finder.find(everything, { watch: true, signal: controller.signal })[Symbol.asyncIterator]();
  assert.equal((await aborted.next()).done, true);
  table.put(endpoint("a"));
  assert.equal(finder.watchers, 0);
});

test("whatever happens while a watcher reads, it ends up knowing the table, and hears of nothing twice", async () => {
  const anyEntry = fc.record({ network_service_names: fc.subarray(["s", "t"]), url: fc.constantFrom("u", "v") });
  const anyName = fc.constantFrom("a", "b", "c", "d", "e", "f");
  const anyStep = fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("read" as const), count: fc.integer({ min: 1, max: 3 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("put" as const), name: anyName, entry: anyEntry }) },
    fc.record({ kind: fc.constant("remove" as const), name: anyName }),
  );
  const anyQuery = fc.constantFrom(
    everything,
    endpoint("a"),
    endpoint("", { network_service_names: ["s"] }),
    endpoint("", { url: "u" }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(anyName, anyEntry), { maxLength: 6 }),
      fc.array(anyStep, { maxLength: 25 }),
      anyQuery,
      async (before, steps, query) => {
        const { table, finder } = start();
        for (const [name, entry] of before) table.put(endpoint(name, entry));
        const controller = new AbortController();
        const watch = finder.find(query, { watch: true, signal: controller.signal })[Symbol.asyncIterator]();
        const known = new Map<string, NetworkServiceEndpoint>();
        const hear = ({ entry, deleted }: Found<NetworkServiceEndpoint>) => {
          assert.notEqual(known.get(entry.name), deleted ? undefined : entry, "an event is repeated, or deletes the unknown");
          if (deleted) known.delete(entry.name);
          else known.set(entry.name, entry);
        };
        let pending: Promise<IteratorResult<Found<NetworkServiceEndpoint>>> | undefined;
        const read = async (): Promise<boolean> => {
          pending ??= watch.next();
          const result = await Promise.race([
            pending,
            new Promise<undefined>((resolve) => setImmediate(() => resolve(undefined))),
          ]);
          if (result === undefined || result.done) return false;
          pending = undefined;
          hear(result.value);
          return true;
        };
        for (const step of steps) {
          if (step.kind === "read") for (let i = 0; i < step.count; i++) await read();
          else if (step.kind === "put") table.put(endpoint(step.name, step.entry));
          else table.remove(step.name);
        }
        while (await read());
        const expected = table.select(query).map(({ entry }) => entry);
        assert.deepEqual(new Set(known.values()), new Set(expected));
        controller.abort();
        await pending;
      },
    ),
    { numRuns: 300 },
  );
});

function start(maxWaiting?: number) {
  const table = createTable(endpointKind);
  return { table, finder: createFinder(table, endpointKind, maxWaiting === undefined ? {} : { maxWaiting }) };
}
