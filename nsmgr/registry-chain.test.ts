import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Found } from "../sdk/api.js";
import { backgroundCall, type CallContext } from "../sdk/chain.js";
import { manualClock } from "../sdk/clock.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, statusError } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { timestampMs, timestampOf } from "../sdk/timestamp.js";
import type { CallOptions } from "../sdk/transport/call.js";
import { findEndpoints } from "./find-endpoints.js";
import { createLocalEndpoints } from "./local-endpoints.js";
import { nameRegistry, registryError } from "./name-registry.js";
import { endpointRegistryChain } from "./registry-chain.js";

const publicUrl = "tcp://10.0.0.1:5001";

test("other nodes learn the manager's URL, the endpoint gets its own back", async (t) => {
  const { handler, call, stored, locals } = start(t);
  const accepted = await handler.register(endpoint("e"), call());
  assert.equal(accepted.url, "unix:///run/e.sock");
  assert.equal(stored.get("e")?.url, publicUrl);
  assert.equal(locals.get("e")?.url, "unix:///run/e.sock");
  await handler.unregister(endpoint("e"), call());
  assert.equal(stored.size, 0);
  assert.equal(locals.get("e"), undefined);
});

test("an endpoint that this manager does not know is unregistered without a word to the registry", async (t) => {
  const { handler, call, stored } = start(t);
  stored.set("other", endpoint("other"));
  await handler.unregister(endpoint("other"), call());
  assert.ok(stored.has("other"));
});

test("row 2.2: the node's labels reach every service of an endpoint unless it has them", async (t) => {
  const { handler, call, stored } = start(t);
  const given = { ...endpoint("e"), network_service_labels: { s: { labels: { nodeName: "mine", a: "b" } } } };
  await handler.register({ ...given, network_service_names: ["s", "t"] }, call());
  assert.deepEqual(stored.get("e")?.network_service_labels["s"]?.labels, { nodeName: "mine", podName: "p", a: "b" });
  assert.deepEqual(stored.get("e")?.network_service_labels["t"]?.labels, { nodeName: "n1", podName: "p" });
});

test("row 3.4: the life of an entry is lowered to a minute, and it goes when nobody refreshes it", async (t) => {
  const { handler, call, stored, clock, locals } = start(t);
  const accepted = await handler.register({ ...endpoint("e"), expiration_time: timestampOf(1e12) }, call());
  assert.ok(accepted.expiration_time);
  assert.equal(timestampMs(accepted.expiration_time), 60_000);
  clock.advance(40_000);
  await handler.register(endpoint("e"), call());
  clock.advance(59_000);
  assert.ok(locals.get("e"));
  clock.advance(1_000);
  assert.equal(locals.get("e"), undefined);
  assert.ok(stored.has("e"), "the registry's own lease ends the entry there");
});

test("row 7.4: while the registry is away a new forwarder is known here, and refreshes keep it; then it expires", async (t) => {
  const { handler, call, locals, clock, upstream } = start(t);
  upstream.error = statusError(Code.UNAVAILABLE, "connection refused");
  await assert.rejects(handler.register(endpoint("f"), call()), { code: Code.UNAVAILABLE, details: /registry .* is away/ });
  assert.equal(locals.get("f")?.url, "unix:///run/f.sock");
  clock.advance(50_000);
  await assert.rejects(handler.register(endpoint("f"), call()), { code: Code.UNAVAILABLE });
  clock.advance(50_000);
  assert.ok(locals.get("f"));
  clock.advance(10_000);
  assert.equal(locals.get("f"), undefined);
});

test("row 7.4: after a restart of the manager an endpoint that takes the name of another one on this node is the younger one", async (t) => {
  const { handler, call, stored, locals } = start(t);
  const old = { ...endpoint("e"), initial_registration_time: timestampOf(5_000) };
  stored.set("e", { ...old, url: publicUrl });
  stored.set("f", { ...old, name: "f", url: "tcp://10.0.0.2:5001" });
  const next = { ...endpoint("e"), url: "unix:///run/next.sock" };
  const accepted = await handler.register(next, call());
  assert.ok(timestampMs(accepted.initial_registration_time ?? timestampOf(0)) > 5_000);
  await assert.rejects(handler.register(old, call()), { code: Code.ALREADY_EXISTS });
  const again = await handler.register(accepted, call());
  assert.deepEqual(again.initial_registration_time, accepted.initial_registration_time, "a refresh changes nothing");
  assert.equal(locals.get("e")?.url, next.url);
  for (const other of ["f", "g"])
    assert.equal((await handler.register(endpoint(other), call())).initial_registration_time, undefined, "the registry's to say");
});

test("row 7.4: an endpoint is known here, though not registered, while the registry cannot say whether its name is taken", async (t) => {
  const { handler, call, locals, stored, upstream } = start(t);
  upstream.findError = statusError(Code.UNAVAILABLE, "connection refused");
  await assert.rejects(handler.register(endpoint("f"), call()), { code: Code.UNAVAILABLE });
  assert.equal(locals.get("f")?.url, "unix:///run/f.sock");
  assert.equal(stored.size, 0);
});

test("row 3.7: a refused registration leaves what was known before", async (t) => {
  const { handler, call, locals, upstream } = start(t);
  await handler.register(endpoint("e"), call());
  upstream.error = statusError(Code.PERMISSION_DENIED, "the name belongs to somebody else");
  const thief = { ...endpoint("e"), url: "unix:///run/thief.sock" };
  await assert.rejects(handler.register(thief, call()), { code: Code.PERMISSION_DENIED });
  assert.equal(locals.get("e")?.url, "unix:///run/e.sock");
  await assert.rejects(handler.register({ ...endpoint("new") }, call()), { code: Code.PERMISSION_DENIED });
  assert.equal(locals.get("new"), undefined);
});

const refusals = [
  { why: "no name", entry: { ...endpoint(""), url: "unix:///a" } },
  { why: "no URL", entry: { ...endpoint("e"), url: "" } },
  { why: "a URL that cannot be parsed", entry: { ...endpoint("e"), url: "no url" } },
  { why: "expired before it begins", entry: { ...endpoint("e"), expiration_time: timestampOf(-5) } },
];
for (const { why, entry } of refusals) {
  test(`refused: ${why}`, async (t) => {
    const { handler, call, stored, locals } = start(t);
    await assert.rejects(handler.register(entry, call()), { code: Code.INVALID_ARGUMENT });
    assert.equal(stored.size, 0);
    assert.deepEqual([...locals.all()], []);
  });
}

test("the path header goes to the registry and its answer back to the caller", async (t) => {
  const { handler, call, upstream } = start(t);
  const replies: string[] = [];
  const context: CallContext = {
    ...call(),
    metadata: (name) => (name === "path" ? ['{"Index":0,"PathSegments":null}'] : []),
    reply: (name, value) => void replies.push(`${name}=${value}`),
  };
  await handler.register(endpoint("e"), context);
  assert.equal(upstream.path, '{"Index":0,"PathSegments":null}');
  assert.deepEqual(replies, ["path=answered"]);
});

test("Find shows local endpoints under their own URL, hides unknown ones of ours, leaves others alone", async (t) => {
  const { handler, call, find, stored } = start(t);
  await handler.register(endpoint("e"), call());
  stored.set("ghost", { ...endpoint("ghost"), url: publicUrl });
  stored.set("far", { ...endpoint("far"), url: "tcp://10.0.0.2:5001" });
  const shown = await list(find(query({}), { watch: false, signal: call().signal }));
  assert.deepEqual(shown, ["e unix:///run/e.sock", "far tcp://10.0.0.2:5001"]);
  assert.deepEqual(await list(find(query({ url: publicUrl }), { watch: false, signal: call().signal })), [
    "e unix:///run/e.sock",
  ]);
  assert.deepEqual(await list(find(query({ url: "/run/e" }), { watch: false, signal: call().signal })), ["e unix:///run/e.sock"]);
});

test("row 7.2: a watcher learns of an endpoint that comes back to a restarted manager", async (t) => {
  const { handler, call, find, stored } = start(t);
  stored.set("e", { ...endpoint("e"), url: publicUrl });
  stored.set("far", { ...endpoint("far"), url: "tcp://10.0.0.2:5001" });
  const controller = new AbortController();
  const events = find(query({}), { watch: true, signal: controller.signal })[Symbol.asyncIterator]();
  assert.equal((await events.next()).value.entry.name, "far");
  const back = events.next();
  await handler.register(endpoint("e"), call());
  const { entry } = (await back).value;
  assert.deepEqual([entry.name, entry.url], ["e", "unix:///run/e.sock"]);
  controller.abort();
});

test("row 7.3: a watcher learns that an endpoint has come back under another URL of this node", async (t) => {
  const { handler, call, find } = start(t);
  await handler.register(endpoint("e"), call());
  const controller = new AbortController();
  const events = find(query({}), { watch: true, signal: controller.signal })[Symbol.asyncIterator]();
  assert.equal((await events.next()).value.entry.url, "unix:///run/e.sock");
  const moved = events.next();
  await handler.register({ ...endpoint("e"), url: "unix:///run/e2.sock" }, call());
  assert.equal((await moved).value.entry.url, "unix:///run/e2.sock");
  controller.abort();
});

test("only unreachable registries are reported as away", () => {
  const refused = statusError(Code.NOT_FOUND, "no such");
  assert.equal(registryError(refused, "tcp://r"), refused);
});

function start(t: TestContext) {
  const clock = manualClock();
  const stop = new AbortController();
  t.after(() => stop.abort());
  const stored = new Map<string, NetworkServiceEndpoint>();
  const upstream = {
    error: undefined as Error | undefined,
    findError: undefined as Error | undefined,
    path: undefined as string | undefined,
  };
  const endpoints = {
    async register(entry: NetworkServiceEndpoint, options: CallOptions) {
      if (upstream.error !== undefined) throw upstream.error;
      upstream.path = options.metadata?.["path"];
      options.onHeader?.("path", "answered");
      stored.set(entry.name, entry);
      return entry;
    },
    async unregister(entry: NetworkServiceEndpoint) {
      if (upstream.error !== undefined) throw upstream.error;
      stored.delete(entry.name);
    },
    async *find(asked: NetworkServiceEndpoint, { watch, signal }: { watch: boolean; signal: AbortSignal }) {
      assert.equal(asked.url, "");
      if (upstream.findError !== undefined) throw upstream.findError;
      for (const entry of stored.values()) yield { entry, deleted: false };
      if (watch) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    },
  };
  const services = { register: fail, unregister: fail, find: fail };
  const locals = createLocalEndpoints();
  const handler = endpointRegistryChain({
    name: "nsmgr",
    services,
    endpoints: nameRegistry(endpoints, "tcp://registry:5002"),
    locals,
    publicUrl: () => publicUrl,
    nodeLabels: { nodeName: "n1", podName: "p" },
    clock,
    endpointLifetimeMs: 60_000,
    requestTimeoutMs: 1_000,
    log: silentLog,
    signal: stop.signal,
  });
  const find = findEndpoints({ upstream: endpoints.find, locals, publicUrl: () => publicUrl });
  const call = (): CallContext => backgroundCall(stop.signal);
  return { handler, find, call, stored, locals, clock, upstream };
}

function fail(): never {
  throw new Error("not asked in this test");
}
async function list(found: AsyncIterable<Found<NetworkServiceEndpoint>>): Promise<string[]> {
  const names: string[] = [];
  for await (const { entry } of found) names.push(`${entry.name} ${entry.url}`);
  return names.sort();
}
function query(partial: { url?: string }): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial(partial);
}
function endpoint(name: string): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({ name, network_service_names: ["s"], url: `unix:///run/${name}.sock` });
}
