import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { manualClock } from "../clock.js";
import { NetworkServiceEndpoint } from "../gen/registry.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { createFakeRegistry } from "../testing/fake-registry.js";
import { type CacheOptions, watchedCache } from "./cache.js";
import { matchesEndpoint } from "./match.js";

const endpoint = (name: string, service = "s") => NetworkServiceEndpoint.fromPartial({ name, network_service_names: [service] });
const ofService = (service: string) => NetworkServiceEndpoint.fromPartial({ network_service_names: [service] });

test("row 3.6: repeated finds do not reach the registry, and changes arrive by the watch", async (t) => {
  const { fake, names, until } = await start(t);
  assert.deepEqual(await names("s"), ["a"]);
  await until(async () => (await names("s")).length === 1 && fake.counts.find > 0);
  const asked = fake.counts.find;
  for (let i = 0; i < 100; i++) assert.deepEqual(await names("s"), ["a"]);
  assert.equal(fake.counts.find, asked);
  assert.equal(fake.counts.watch, 1);

  await fake.register(endpoint("b"), call());
  await until(async () => (await names("s")).length === 2);
  await fake.unregister(endpoint("a"), call());
  await until(async () => (await names("s")).join() === "b");
  assert.equal(fake.counts.find, asked);
});

test("row 3.6: an empty answer is not remembered", async (t) => {
  const { fake, names } = await start(t);
  assert.deepEqual(await names("new"), []);
  await fake.register(endpoint("n", "new"), call());
  assert.deepEqual(await names("new"), ["n"]);
});

test("row 3.6: a broken watch sends look-ups to the registry until it is open again", async (t) => {
  const { fake, names, until, clock } = await start(t);
  await names("s");
  await until(() => fake.openWatches === 1);
  fake.endWatches();
  await until(() => fake.openWatches === 0);
  fake.entries.set("silent", endpoint("silent"));
  const asked = fake.counts.find;
  assert.deepEqual(await names("s"), ["a", "silent"]);
  assert.ok(fake.counts.find > asked);
  clock.advance(200);
  await until(() => fake.openWatches === 1);
  await names("s");
  const again = fake.counts.find;
  await until(async () => (await names("s")).length === 2);
  assert.ok(fake.counts.find <= again + 1);
});

test("the last known answer stands in while the registry is away, but not for ever and not for `fresh`", async (t) => {
  const { fake, names, until, clock, cache } = await start(t, { staleMs: 60_000 });
  await names("s");
  await until(() => fake.openWatches === 1);
  fake.failure = statusError(Code.UNAVAILABLE, "away");
  fake.endWatches(fake.failure);
  await until(() => fake.openWatches === 0);
  assert.deepEqual(await names("s"), ["a"]);
  const [standIn] = await collect(cache.find(ofService("s"), { ...call(), watch: false }));
  assert.equal(standIn?.expiration_time, undefined, "a lease that nobody can refresh does not count");
  await assert.rejects(collect(cache.find(ofService("s"), { ...call(), watch: false, fresh: true })), { code: Code.UNAVAILABLE });
  await assert.rejects(names("never asked"), { code: Code.UNAVAILABLE });
  clock.advance(61_000);
  await assert.rejects(names("s"), { code: Code.UNAVAILABLE });
  fake.failure = statusError(Code.PERMISSION_DENIED, "no");
  await assert.rejects(names("s"), { code: Code.PERMISSION_DENIED });
});

test("`fresh` asks the registry whatever is held", async (t) => {
  const { fake, names, cache } = await start(t);
  await names("s");
  const asked = fake.counts.find;
  await collect(cache.find(ofService("s"), { ...call(), watch: false, fresh: true }));
  assert.equal(fake.counts.find, asked + 1);
});

test("look-ups at the same time share one question; each caller can leave alone", async (t) => {
  const { fake, names, cache } = await start(t);
  const leaving = new AbortController();
  const left = collect(cache.find(ofService("s"), { watch: false, signal: leaving.signal }));
  const others = Array.from({ length: 20 }, () => names("s"));
  leaving.abort();
  await assert.rejects(left, { name: "AbortError" });
  assert.deepEqual(new Set((await Promise.all(others)).map(String)), new Set(["a"]));
  assert.equal(fake.counts.find, 1);
});

test("queries are forgotten when nobody asks them, or when there are too many", async (t) => {
  const { fake, names, until, clock, cache } = await start(t, { idleMs: 1_000, maxQueries: 3 });
  for (let i = 0; i < 10; i++) await names(`s${i}`);
  assert.equal(cache.size, 3);
  await until(() => fake.openWatches === 3);
  clock.advance(2_500);
  assert.equal(cache.size, 0);
  await until(() => fake.openWatches === 0);
});

test("when the signal ends the cache, its watches end and look-ups go to the registry", async (t) => {
  const { fake, names, until, stop } = await start(t);
  await names("s");
  await until(() => fake.openWatches === 1);
  stop();
  await until(() => fake.openWatches === 0);
  assert.deepEqual(await names("s"), ["a"]);
});

test("a watch, Register and Unregister pass through", async (t) => {
  const { fake, cache } = await start(t);
  await cache.register(endpoint("x"), call());
  assert.ok(fake.entries.has("x"));
  for await (const found of cache.find(ofService("s"), { ...call(), watch: true })) {
    assert.equal(found.entry.name, "a");
    break;
  }
  await cache.unregister(endpoint("x"), call());
  assert.ok(!fake.entries.has("x"));
});

const call = () => ({ signal: new AbortController().signal });

async function collect<T>(items: AsyncIterable<{ entry: T }>): Promise<T[]> {
  const entries: T[] = [];
  for await (const { entry } of items) entries.push(entry);
  return entries;
}

async function start(t: TestContext, options: Partial<CacheOptions> = {}) {
  const stopping = new AbortController();
  t.after(() => stopping.abort());
  const clock = manualClock();
  const fake = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  fake.entries.set("a", { ...endpoint("a"), expiration_time: { seconds: 60, nanos: 0 } });
  const cache = watchedCache(fake, { log: silentLog, signal: stopping.signal, clock, random: () => 0, ...options });
  return {
    fake,
    clock,
    cache,
    stop: () => stopping.abort(),
    names: async (service: string) =>
      (await collect(cache.find(ofService(service), { ...call(), watch: false }))).map(({ name }) => name),
    async until(condition: () => boolean | Promise<boolean>) {
      for (let turn = 0; turn < 1_000; turn++) {
        if (await condition()) return;
        await new Promise(setImmediate);
      }
      assert.fail(`never true: ${condition}`);
    },
  };
}
