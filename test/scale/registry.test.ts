/** A registry with many of everything; the large numbers are in bench/scale. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { call, entry, find, inParallel, queries } from "../../bench/registry-entries.js";
import { startManagers } from "../../bench/scale/managers.js";
import { doNotRead, watchAll } from "../../bench/scale/watching.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { type ComponentProcess, componentProcess } from "../journey/process.js";
import { until } from "../journey/until.js";
import { collectable, collected, isBack, stateOf } from "./process-state.js";

test("50,000 endpoints come, are found, survive a kill and go: memory is back", { timeout: 240_000 }, async (t) => {
  const { registry, endpoints, pid } = await start(t, { WEFT_STORE: "lmdb", NSM_EXPIRE_PERIOD: "1h" });
  const size = 50_000;
  // as large as it gets while it works, and empty
  await inParallel(5_000, 256, (i) => endpoints.register(entry(i), call()));
  await inParallel(5_000, 256, (i) => endpoints.unregister(entry(i), call()));
  const before = await stateOf(pid());
  await inParallel(size, 256, (i) => endpoints.register(entry(i), call()));
  const full = await collected(pid());
  assert.ok(full < 300, `${full} MiB`);
  for (const [, query] of queries) for (const i of [0, 25_000, 49_999]) await find(endpoints, query(i));
  await registry.kill();
  await registry.start();
  for (const [, query] of queries) for (const i of [0, 25_000, 49_999]) await find(endpoints, query(i));
  await inParallel(size, 256, (i) => endpoints.unregister(entry(i), call()));
  for await (const { entry } of endpoints.find(NetworkServiceEndpoint.fromPartial({}), { ...call(), watch: false })) {
    assert.fail(`${entry.name} is still there`);
  }
  await isBack("the registry", pid(), before);
});

test("of 500 watchers 50 do not read: the others hear of every change, the slow ones are given up and hold little", async (t) => {
  const { endpoints, url, dialer, pid } = await start(t, { WEFT_STORE: "memory", WEFT_WATCH_BUFFER: "64" });
  const changed = (name: string, version: number, bytes = 0): NetworkServiceEndpoint =>
    NetworkServiceEndpoint.fromPartial({
      name,
      network_service_names: ["watched"],
      network_service_labels: { watched: { labels: { version: String(version), load: "x".repeat(bytes) } } },
      url: "tcp://10.0.0.1:5001",
    });
  await endpoints.register(changed("watched-1", 0), call());
  const fast = await watchAll(url, 450, "watched-1");
  t.after(() => fast.stop());
  const before = await collected(pid());
  const sockets = await doNotRead(url, 50, "watched");
  t.after(() => sockets.forEach((socket) => void socket.destroy()));
  for (let i = 0; i < 600; i++) await endpoints.register(changed("bulk", i, 16_000), call());
  for (let i = 1; i <= 20; i++) await fast.told(() => endpoints.register(changed("watched-1", i), call()));
  const { facts } = await dialer.inspect(url).getReport({ section: "counters" }, call());
  assert.equal(facts.find(({ name }) => name === "dropped watchers")?.value, "50");
  const more = (await collected(pid())) - before;
  assert.ok(more < 60, `the slow ones hold ${more} MiB`);
});

test("the registry is killed under 300 managers: every entry and every watch comes back, spread over time", async (t) => {
  const { registry, url, endpoints } = await start(t, { WEFT_STORE: "memory", NSM_EXPIRE_PERIOD: "30s" });
  const managers = await startManagers(300, url);
  t.after(() => managers.stop());
  await until("all watches are open", () => managers.open === managers.watches);
  await registry.kill();
  await until("all watches are cut", () => managers.open === 0);
  managers.forget();
  await registry.start();
  await until("every entry is registered again", () => managers.names.size === managers.entries, 60_000);
  await until("every watch is open again", () => managers.open === managers.watches, 60_000);
  const names = new Set<string>();
  for await (const { entry } of endpoints.find(NetworkServiceEndpoint.fromPartial({}), { ...call(), watch: false })) {
    names.add(entry.name);
  }
  assert.equal(names.size, managers.entries);
  // one herd would be all in one tenth of a second
  const first = Math.min(...managers.registered);
  const tenths = new Set(managers.registered.map((atMs) => Math.floor((atMs - first) / 100)));
  assert.ok(tenths.size >= 5, `all were back within ${tenths.size} tenths of a second`);
});

async function start(t: TestContext, env: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), "weft-s-"));
  const dialer = createDialer({ dialTimeoutMs: 10_000 });
  const url = `tcp://127.0.0.1:${await quietPort()}`;
  const settings = { ...collectable, NSM_LISTEN_ON: url, WEFT_STATE_DIR: folder, NSM_LOG_LEVEL: "warn", ...env };
  const registry: ComponentProcess = componentProcess("registry", settings, {
    dialer,
    url,
    signal: new AbortController().signal,
  });
  t.after(async () => {
    dialer.close();
    await registry.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await registry.start();
  return {
    registry,
    dialer,
    url,
    endpoints: dialer.endpointRegistry(url),
    pid: () => registry.pid ?? assert.fail("not running"),
  };
}

/** A client that dials a port of the range from which sockets are numbered may reach itself while nobody listens there. */
async function quietPort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
