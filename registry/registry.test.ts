import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { manualClock } from "../sdk/clock.js";
import { Code } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { createMetrics } from "../sdk/telemetry/metrics.js";
import { timestampMs, timestampOf } from "../sdk/timestamp.js";
import { startRegistry } from "./main.js";
import { collect, endpoint, pathOf, reader, registryConfig, service, testRegistry, tokenOf, until } from "./test-registry.js";

const seconds = (ms: number) => ms * 1_000;

test("row 3.1: services and endpoints are registered, found and unregistered", async (t) => {
  const { services, endpoints, signal } = await testRegistry(t);
  await services.register(service("s", { payload: "ETHERNET", matches: [{ source_selector: { a: "b" }, fallthrough: true }] }), {
    signal,
  });
  await endpoints.register(endpoint("e1", { network_service_names: ["s"], url: "tcp://10.0.0.1:5001" }), { signal });
  await endpoints.register(endpoint("e2", { network_service_names: ["s"], url: "tcp://10.0.0.2:5001" }), { signal });
  const find = async (query: Parameters<typeof endpoint>[1]) =>
    (await collect(endpoints.find(endpoint("", query), { watch: false, signal }))).map(({ name }) => name);
  assert.deepEqual(await find({}), ["e1", "e2"]);
  assert.deepEqual(await find({ url: "10.0.0.2" }), ["e2"]);
  assert.deepEqual(await find({ network_service_names: ["s"] }), ["e1", "e2"]);
  assert.deepEqual(await find({ network_service_names: ["t"] }), []);
  const [found] = await collect(services.find(service("s"), { watch: false, signal }));
  assert.equal(found?.payload, "ETHERNET");
  assert.deepEqual(found?.matches[0]?.source_selector, { a: "b" });
  await endpoints.unregister(endpoint("e1"), { signal });
  assert.deepEqual(await find({}), ["e2"]);
  await endpoints.unregister(endpoint("never there"), { signal });
  await services.unregister(service("s"), { signal });
  assert.deepEqual(await collect(services.find(service(""), { watch: false, signal })), []);
});

test("a service without payload carries IP", async (t) => {
  const { services, signal } = await testRegistry(t);
  assert.equal((await services.register(service("s"), { signal })).payload, "IP");
});

test("row 3.4: an endpoint that is not refreshed goes when its lease ends, and watchers hear of it", async (t) => {
  const clock = manualClock(seconds(1_000_000));
  const { endpoints, signal } = await testRegistry(t, { leasePeriodMs: seconds(60) }, { clock });
  const watch = reader(endpoints.find(endpoint("e"), { watch: true, signal }));
  const granted = await endpoints.register(endpoint("e", { url: "tcp://x:1" }), { signal });
  assert.equal(timestampMs(granted.expiration_time ?? timestampOf(0)), clock.nowMs() + seconds(60));
  assert.equal((await watch.next()).deleted, false);
  clock.advance(seconds(40));
  await endpoints.register({ ...granted, expiration_time: undefined }, { signal });
  assert.equal((await watch.next()).deleted, false);
  clock.advance(seconds(59.9));
  assert.equal((await collect(endpoints.find(endpoint("e"), { watch: false, signal }))).length, 1);
  clock.advance(500);
  const gone = await watch.next();
  assert.ok(gone.deleted);
  assert.equal(gone.entry.url, "tcp://x:1");
  assert.deepEqual(await collect(endpoints.find(endpoint("e"), { watch: false, signal })), []);
});

test("the lease is the shortest of period, what was asked, and the caller's token; the deadline of the call is no part of it", async (t) => {
  const clock = manualClock(Math.floor(Date.now() / 1_000) * 1_000);
  const { endpoints, signal } = await testRegistry(t, { leasePeriodMs: seconds(60) }, { clock });
  let count = 0;
  const granted = async (askedMs: number | undefined, metadata?: Record<string, string>) => {
    const expiration_time = askedMs === undefined ? undefined : timestampOf(clock.nowMs() + askedMs);
    const deadlineMs = Date.now() + seconds(10);
    const answer = await endpoints.register(endpoint(`e${count++}`, { expiration_time }), { signal, deadlineMs, metadata });
    return timestampMs(answer.expiration_time ?? timestampOf(0)) - clock.nowMs();
  };
  const ends = (ms: number) => ({
    "nsm-client-token": tokenOf("a"),
    "nsm-client-token-expires": new Date(clock.nowMs() + ms).toISOString().replace("Z", "000000Z"),
  });
  assert.equal(await granted(undefined), seconds(60));
  assert.equal(await granted(seconds(600)), seconds(60));
  assert.equal(await granted(seconds(5)), seconds(5));
  assert.equal(await granted(undefined, ends(seconds(2))), seconds(2));
  assert.equal(await granted(undefined, { ...ends(seconds(2)), "nsm-client-token-expires": "soon" }), seconds(60));
  const refused = { code: Code.INVALID_ARGUMENT };
  await assert.rejects(granted(seconds(-1)), refused);
  await assert.rejects(granted(0), refused);
  await assert.rejects(granted(undefined, ends(-1)), refused);
});

test("row 3.9: the time of the first registration is kept over refreshes, unless the caller sets it", async (t) => {
  const clock = manualClock(seconds(1_000));
  const { endpoints, signal } = await testRegistry(t, {}, { clock });
  const initial = async (given?: number) => {
    const initial_registration_time = given === undefined ? undefined : timestampOf(given);
    const answer = await endpoints.register(endpoint("e", { initial_registration_time }), { signal });
    return timestampMs(answer.initial_registration_time ?? timestampOf(0));
  };
  assert.equal(await initial(), seconds(1_000));
  clock.advance(seconds(10));
  assert.equal(await initial(), seconds(1_000));
  assert.equal(await initial(seconds(7)), seconds(7));
  await endpoints.unregister(endpoint("e"), { signal });
  assert.equal(await initial(), seconds(1_010));
});

test("rows 3.7, 3.8: a name belongs to who registered it until unregistration or the end of the lease", async (t) => {
  const clock = manualClock(seconds(1_000));
  const { endpoints, signal } = await testRegistry(t, {}, { clock });
  const as = (subject: string) => ({ signal, metadata: { path: pathOf(subject, "manager") } });
  const denied = { code: Code.PERMISSION_DENIED };
  await endpoints.register(endpoint("e", { url: "tcp://a:1" }), as("a"));
  await endpoints.register(endpoint("e", { url: "tcp://a:2" }), as("a"));
  await assert.rejects(endpoints.register(endpoint("e", { url: "tcp://b:1" }), as("b")), denied);
  await assert.rejects(endpoints.register(endpoint("e"), { signal }), denied);
  await assert.rejects(endpoints.unregister(endpoint("e"), as("b")), denied);
  const [found] = await collect(endpoints.find(endpoint("e"), { watch: false, signal }));
  assert.equal(found?.url, "tcp://a:2");
  assert.deepEqual(found?.path_ids, ["a", ""]);

  await endpoints.unregister(endpoint("e"), as("a"));
  await endpoints.register(endpoint("e"), as("b"));
  clock.advance(seconds(61));
  await until(async () => (await collect(endpoints.find(endpoint("e"), { watch: false, signal }))).length === 0);
  await endpoints.register(endpoint("e"), as("c"));
});

test("rows 3.7, 3.8: an owner cannot be forged by path_ids in the entry, and `identify` replaces the rule", async (t) => {
  const plain = await testRegistry(t);
  const forged = await plain.endpoints.register(endpoint("e", { path_ids: ["victim"] }), { signal: plain.signal });
  assert.deepEqual(forged.path_ids, []);
  const { endpoints, signal } = await testRegistry(t, {}, { identify: (_tokens, { metadata }) => metadata("who")[0] ?? "" });
  await endpoints.register(endpoint("e"), { signal, metadata: { who: "a" } });
  await assert.rejects(endpoints.register(endpoint("e"), { signal, metadata: { who: "b" } }), { code: Code.PERMISSION_DENIED });
});

test("rows 2.14, 3.7: anyone may repeat a service, only its owner may change or remove it", async (t) => {
  const { services, signal } = await testRegistry(t);
  const as = (subject: string) => ({ signal, metadata: { path: pathOf(subject) } });
  await services.register(service("s"), as("a"));
  assert.deepEqual((await services.register(service("s"), as("b"))).path_ids, ["a", ""]);
  await assert.rejects(services.register(service("s", { payload: "ETHERNET" }), as("b")), { code: Code.PERMISSION_DENIED });
  await assert.rejects(services.unregister(service("s"), as("b")), { code: Code.PERMISSION_DENIED });
  await services.register(service("s", { payload: "ETHERNET" }), as("a"));
  await services.unregister(service("s"), as("a"));
});

test("the path header is answered to who sent one, with a segment for this registry", async (t) => {
  const { endpoints, signal } = await testRegistry(
    t,
    {},
    {
      mintToken: async () => ({ token: tokenOf("registry"), endsMs: Date.now() + seconds(600) }),
    },
  );
  const answered = async (path?: string) => {
    let header: string | undefined;
    const metadata = path === undefined ? undefined : { path };
    const onHeader = (name: string, value: string) => {
      if (name === "path") header = value;
    };
    const { path_ids } = await endpoints.register(endpoint("e"), { signal, metadata, onHeader });
    return { header: header === undefined ? undefined : JSON.parse(header), path_ids };
  };
  const registry = { token: tokenOf("registry") };
  assert.deepEqual(await answered(), { header: undefined, path_ids: ["", "registry"] });
  assert.deepEqual(await answered('{"Index":0,"PathSegments":null}'), {
    header: { Index: 0, PathSegments: [{ token: "" }, registry] },
    path_ids: ["", "registry"],
  });
  const segments = [{ token: tokenOf("nse") }, { token: tokenOf("nsmgr") }];
  assert.deepEqual(await answered(JSON.stringify({ Index: 1, PathSegments: segments })), {
    header: { Index: 1, PathSegments: [...segments, registry] },
    path_ids: ["nse", "nsmgr", "registry"],
  });
});

test("a watch gives what is there and then each change; what stops to match is gone for it", async (t) => {
  const { endpoints, signal } = await testRegistry(t);
  await endpoints.register(endpoint("a", { network_service_names: ["s"] }), { signal });
  await endpoints.register(endpoint("z", { network_service_names: ["t"] }), { signal });
  const watch = reader(endpoints.find(endpoint("", { network_service_names: ["s"] }), { watch: true, signal }));
  const told = async (count: number) =>
    (await watch.take(count)).map(({ entry, deleted }) => `${deleted ? "-" : "+"}${entry.name}`);
  assert.deepEqual(await told(1), ["+a"]);
  await endpoints.register(endpoint("b", { network_service_names: ["s", "t"] }), { signal });
  await endpoints.register(endpoint("a", { network_service_names: ["t"] }), { signal });
  await endpoints.unregister(endpoint("z"), { signal });
  await endpoints.unregister(endpoint("b"), { signal });
  assert.deepEqual(await told(3), ["+b", "-a", "-b"]);
});

test("when the registry stops, watches end with UNAVAILABLE, never CANCELLED", async (t) => {
  const { endpoints, signal, stop } = await testRegistry(t);
  await endpoints.register(endpoint("a"), { signal });
  const watch = reader(endpoints.find(endpoint("a"), { watch: true, signal }));
  await watch.next();
  const ended = assert.rejects(watch.next(), { code: Code.UNAVAILABLE });
  await stop();
  await ended;
});

test("the default store keeps entries and their owners over a restart, with a whole lease", async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), "wt-registry-"));
  t.after(() => rmSync(stateDir, { recursive: true }));
  const clock = manualClock(seconds(1_000));
  const config = { store: "lmdb", stateDir, leasePeriodMs: seconds(60) } as const;
  const first = await testRegistry(t, config, { clock });
  await first.endpoints.register(endpoint("e"), { signal: first.signal, metadata: { path: pathOf("a") } });
  await first.services.register(service("s"), { signal: first.signal });
  await assert.rejects(startRegistry(registryConfig(config), { log: silentLog, signal: first.signal }), {
    code: Code.ALREADY_EXISTS,
  });
  await first.stop();

  clock.advance(seconds(3_600));
  const { endpoints, services, signal } = await testRegistry(t, config, { clock });
  const [found] = await collect(endpoints.find(endpoint("e"), { watch: false, signal }));
  assert.equal(timestampMs(found?.expiration_time ?? timestampOf(0)), clock.nowMs() + seconds(60));
  assert.equal((await collect(services.find(service("s"), { watch: false, signal }))).length, 1);
  await assert.rejects(endpoints.register(endpoint("e"), { signal, metadata: { path: pathOf("b") } }), {
    code: Code.PERMISSION_DENIED,
  });
  clock.advance(seconds(61));
  await until(async () => (await collect(endpoints.find(endpoint("e"), { watch: false, signal }))).length === 0);
});

test("many registrations of one name at once all succeed, one after the other", async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), "wt-registry-"));
  t.after(() => rmSync(stateDir, { recursive: true }));
  const { endpoints, signal } = await testRegistry(t, { store: "lmdb", stateDir });
  await Promise.all(Array.from({ length: 50 }, (_, i) => endpoints.register(endpoint("e", { url: `tcp://h:${i}` }), { signal })));
  assert.equal((await collect(endpoints.find(endpoint("e"), { watch: false, signal }))).length, 1);
});

test("row 10.3: entries and watches are published as metrics", async (t) => {
  const metrics = createMetrics("registry");
  const { endpoints, services, signal } = await testRegistry(t, {}, { metrics });
  await services.register(service("s"), { signal });
  await endpoints.register(endpoint("e"), { signal });
  await reader(endpoints.find(endpoint("e"), { watch: true, signal })).next();
  const text = await metrics.registry.metrics();
  assert.match(text, /weft_registry_entries\{kind="service",component="registry"\} 1/);
  assert.match(text, /weft_registry_entries\{kind="endpoint",component="registry"\} 1/);
  assert.match(text, /weft_registry_watchers\{kind="endpoint",component="registry"\} 1/);
});
