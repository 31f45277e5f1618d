import assert from "node:assert/strict";
import { test } from "node:test";
import { watchedCache } from "../sdk/registry/cache.js";
import { keepRegistered } from "../sdk/registry/keep-registered.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { createDialer } from "../sdk/transport/dial.js";
import { run } from "./main.js";
import { collect, endpoint, type Scope, service, stacked, testRegistry, until } from "./test-registry.js";

test("row 7.4: entries come back by themselves when a registry has lost them in a restart, and look-ups follow", async (context) => {
  const t = stacked(context);
  const first = await testRegistry(t);
  const { kept, cache, names } = await users(t, first.url);
  assert.equal(kept.length, 20);
  await until(async () => (await names()).length === 20);

  await first.stop();
  assert.equal((await names()).length, 20, "the last known answer stands in");
  const second = await testRegistry(t, { listenOn: [first.url] });
  await until(
    async () => (await collect(second.endpoints.find(endpoint(""), { watch: false, signal: second.signal }))).length === 20,
  );
  await until(async () => (await names()).length === 20);
  assert.equal(cache.size, 1);
  await kept[0]?.unregister();
  await until(async () => (await names()).length === 19);
});

test("row 3.6: over real sockets, repeated look-ups open one watch and ask once", async (context) => {
  const t = stacked(context);
  const { url, dialer, signal } = await testRegistry(t);
  const { names } = await users(t, url);
  await until(async () => (await names()).length === 20);
  for (let i = 0; i < 200; i++) assert.equal((await names()).length, 20);
  const report = await dialer.inspect(url).getReport({ section: "counters" }, { signal });
  // one of the cache, one of each entry that is kept
  assert.equal(report.facts.find(({ name }) => name === "watchers")?.value, "21");
});

test("the command refuses to start without --insecure, and reports every wrong setting at once", async () => {
  const signal = AbortSignal.abort();
  const errors: string[] = [];
  const write = process.stderr.write;
  process.stderr.write = (text: string | Uint8Array) => errors.push(String(text)) > 0;
  try {
    assert.equal(await run({ argv: [], env: {}, signal }), 2);
    assert.equal(await run({ argv: ["--insecure", "--store", "paper"], env: { NSM_LISTEN_ON: "nowhere://" }, signal }), 2);
  } finally {
    process.stderr.write = write;
  }
  assert.match(errors[0] ?? "", /--insecure/);
  assert.match(errors.slice(1).join(""), /paper[\s\S]*nowhere|nowhere[\s\S]*paper/);
});

/** Keepers of 20 endpoints and one service, and somebody who looks them up. */
async function users(scope: Scope, url: string) {
  const ending = new AbortController();
  const dialer = createDialer({ dialTimeoutMs: 1_000 });
  scope.after(() => dialer.close());
  scope.after(() => ending.abort());
  const { signal } = ending;
  const registry = dialer.endpointRegistry(url);
  const keep = { log: silentLog, signal };
  await dialer.serviceRegistry(url).register(service("s"), { signal });
  const kept = await Promise.all(
    Array.from({ length: 20 }, (_, i) => keepRegistered(registry, endpoint(`e${i}`, { network_service_names: ["s"] }), keep)),
  );
  scope.after(async () => {
    ending.abort();
    await Promise.all(kept.map(({ closed }) => closed));
  });
  const cache = watchedCache(registry, keep);
  const query = endpoint("", { network_service_names: ["s"] });
  return { kept, cache, names: () => collect(cache.find(query, { watch: false, signal })) };
}
