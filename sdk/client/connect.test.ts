import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../clock.js";
import { type Connection, State } from "../gen/connection.js";
import { ConnectionContext } from "../gen/connectioncontext.js";
import { asBroken } from "../monitor/broken.js";
import { Code, statusError } from "../status.js";
import { listenTo, start } from "../testing/scripted-client.js";
import { grant, startScriptedNodeManager } from "../testing/scripted-node-manager.js";
import { until } from "../testing/until.js";
import { createDialer } from "../transport/dial.js";
import { withRetryHint } from "../transport/edge-status.js";

const withAddresses = ConnectionContext.fromPartial({
  ip_context: { src_ip_addrs: ["10.0.0.1/32"], dst_ip_addrs: ["10.0.0.2/32"] },
});

test("a connection is granted, refreshed with what was granted, and given back once", async (t) => {
  const node = await startScriptedNodeManager(t);
  node.answer = (request) => grant(request, { context: withAddresses });
  const connection = await start(t, node, {
    url: "kernel://icmp-responder/nsm-1?tier=gold",
    liveness: false,
    workload: { nodeName: "node-1" },
  });
  assert.equal(connection.interfaceName, "nsm-1");
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["10.0.0.1/32"]);
  assert.deepEqual(node.requests[0]?.connection?.labels, { tier: "gold", nodeName: "node-1" });
  assert.ok(node.requests[0]?.connection?.path?.path_segments[0]?.expires, "segment 0 carries its expiry");
  await connection.close();
  await connection.close();
  assert.deepEqual(
    node.closes.map(({ id }) => id),
    [connection.id],
  );
});

test("row 1.28: it refreshes after a fifth of the life, again and again", async (t) => {
  const node = await startScriptedNodeManager(t);
  await start(t, node, { liveness: false, maxTokenLifetimeMs: 300 });
  node.answer = (request) => {
    assert.equal(request.connection?.state, State.UP);
    assert.equal(request.connection?.network_service_endpoint_name, "nse-1");
    return shortLived(grant(request), 300);
  };
  node.report("c-1", State.REFRESH_REQUESTED);
  await until("four refreshes", () => node.requests.length >= 5);
});

test("an endpoint that comes later is waited for", async (t) => {
  const node = await startScriptedNodeManager(t);
  let refusals = 0;
  node.answer = (request) => {
    if (refusals++ < 3) throw statusError(Code.NOT_FOUND, "no endpoint of icmp-responder");
    return grant(request);
  };
  await start(t, node, { liveness: false });
  assert.equal(node.requests.length, 4);
});

test("a wrong request, a deadline and an abort end connect()", async (t) => {
  const node = await startScriptedNodeManager(t);
  node.answer = () => Promise.reject(statusError(Code.INVALID_ARGUMENT, "bad labels"));
  await assert.rejects(start(t, node, {}), { code: Code.INVALID_ARGUMENT });
  node.answer = () => Promise.reject(statusError(Code.NOT_FOUND, "no such service"));
  await assert.rejects(start(t, node, { connectTimeoutMs: 150 }), { code: Code.DEADLINE_EXCEEDED, message: /no such service/ });
  const controller = new AbortController();
  const waiting = start(t, node, { signal: controller.signal });
  await until("a try", () => node.requests.length > 3);
  controller.abort(new Error("no longer wanted"));
  await assert.rejects(waiting, /no longer wanted/);
  await until("no stream left", () => node.watchers() === 0);
  await assert.rejects(start(t, node, { url: "kernel://" }), { code: Code.INVALID_ARGUMENT });
});

test("row 7.2: the node manager restarts: the same connection is asked for under the same id", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connection = await start(t, node, { liveness: false });
  const heard = listenTo(connection);
  await until("the stream", () => node.watchers() === 1);
  await node.stop();
  await until("the trouble", () => heard[0]?.kind === "trouble");
  await node.start();
  const healed = await until("healing", () => heard.find((change) => change.kind === "healed"));
  assert.equal(healed.kind === "healed" && healed.how, "same");
  const last = node.requests.at(-1)?.connection;
  assert.deepEqual([last?.id, last?.state, last?.network_service_endpoint_name], [connection.id, State.UP, "nse-1"]);
});

test("row 7.3: reported as broken and not to be had again: another endpoint", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connection = await start(t, node, { liveness: false });
  const heard = listenTo(connection);
  await until("the stream", () => node.watchers() === 1);
  node.answer = (request) => {
    if (request.connection?.state !== State.RESELECT_REQUESTED) throw statusError(Code.UNAVAILABLE, "nse-1 is away");
    return grant(request, { network_service_endpoint_name: "nse-2" });
  };
  node.report(connection.id, State.DOWN, asBroken(connection.connection, "its interface is gone"));
  const healed = await until("healing", () => heard.find((change) => change.kind === "healed"));
  assert.equal(healed.connection.network_service_endpoint_name, "nse-2");
  assert.deepEqual(
    heard.map(({ kind }) => kind),
    ["trouble", "healed"],
  );
});

test("row 7.12: reported as down, nobody has seen it broken: the same until it is granted, and nothing of it is given up", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connection = await start(t, node, { liveness: false });
  const heard = listenTo(connection);
  await until("the stream", () => node.watchers() === 1);
  node.answer = () => Promise.reject(statusError(Code.UNAVAILABLE, "the forwarder is away"));
  node.report(connection.id, State.DOWN);
  await until("some tries", () => node.requests.length > 5);
  node.answer = (request) => grant(request);
  await until("healing", () => heard.find((change) => change.kind === "healed"));
  assert.ok(node.requests.every(({ connection }) => connection?.state === State.UP && connection.id === "c-1"));
  assert.deepEqual(node.closes, []);
});

test("row 7.3: reported as down, nobody knows whether it lives: when patience ends a second path stands before the first is given back", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connection = await start(t, node, { liveness: false, patienceMs: 300, lingerMs: 10 });
  const heard = listenTo(connection);
  await until("the stream", () => node.watchers() === 1);
  node.answer = (request) => {
    if (request.connection?.network_service_endpoint_name === "nse-1") throw statusError(Code.UNAVAILABLE, "nse-1 is away");
    return grant(request, { network_service_endpoint_name: "nse-2" });
  };
  node.report(connection.id, State.DOWN);
  const healed = await until("healing", () => heard.find((change) => change.kind === "healed"));
  assert.equal(healed.kind === "healed" && healed.how, "beside");
  assert.equal(healed.connection.network_service_endpoint_name, "nse-2");
  await until("the old path to go", () => node.closes.some(({ id }) => id === "c-1"));
});

test("a refusal that says when to ask again is heeded by who heals", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connection = await start(t, node, { liveness: false, backoff: { firstMs: 1, ceilingMs: 1 } });
  await until("the stream", () => node.watchers() === 1);
  const times: number[] = [];
  node.answer = (request) => {
    times.push(performance.now());
    if (times.length === 1) throw withRetryHint(statusError(Code.RESOURCE_EXHAUSTED, "too much at once"), 400);
    return grant(request);
  };
  node.report(connection.id, State.DOWN);
  await until("the second try", () => times.length === 2);
  assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 390, `${times}`);
});

test("row 7.15: RESELECT_REQUESTED moves a healthy connection, REFRESH_REQUESTED refreshes it", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connection = await start(t, node, { liveness: false });
  await until("the stream", () => node.watchers() === 1);
  node.report(connection.id, State.REFRESH_REQUESTED);
  await until("the refresh", () => node.requests.length === 2);
  node.report(connection.id, State.RESELECT_REQUESTED);
  await until("the new path", () => node.requests.some((request) => request.connection?.id === "c-1-b"));
});

test("row 7.15: a refused refresh leads to healing by the same endpoint, by another one only when the lease is over", async (t) => {
  const node = await startScriptedNodeManager(t);
  let leaseEndsMs = 0;
  const granted = (request: (typeof node.requests)[number]) => {
    leaseEndsMs = Date.now() + 2_000;
    return shortLived(grant(request), 2_000);
  };
  node.answer = granted;
  const connection = await start(t, node, { liveness: async () => true, livenessIntervalMs: 5 });
  const heard = listenTo(connection);
  const healedBy = (): string[] => heard.flatMap((change) => (change.kind === "healed" ? [change.how] : []));
  const isReselect = ({ connection }: (typeof node.requests)[number]): boolean => connection?.state === State.RESELECT_REQUESTED;
  node.answer = () => Promise.reject(statusError(Code.UNAVAILABLE, "the endpoint is busy"));
  await until("the trouble", () => heard.some(({ kind }) => kind === "trouble"));
  node.answer = granted;
  await until("healing", () => healedBy().length === 1);
  assert.deepEqual([healedBy(), node.requests.some(isReselect)], [["same"], false]);

  node.answer = (request) => {
    if (isReselect(request)) return shortLived(grant(request), 60_000);
    return Promise.reject(statusError(Code.UNAVAILABLE, "the endpoint is busy"));
  };
  await until("another healing", () => healedBy().length === 2);
  assert.deepEqual(healedBy(), ["same", "reselect"]);
  assert.ok(Date.now() >= leaseEndsMs);
});

test("healing ends: after the time allowed it closes and says so", async (t) => {
  const node = await startScriptedNodeManager(t);
  let passes = true;
  const connection = await start(t, node, { liveness: async () => passes, livenessIntervalMs: 5, giveUpAfterMs: 100 });
  setTimeout(() => {
    passes = false;
  }, 50);
  const kinds: string[] = [];
  for await (const change of connection.changes) kinds.push(change.kind);
  assert.equal(kinds.at(-1), "gave-up");
  assert.deepEqual(
    node.closes.map(({ id }) => id),
    [connection.id],
  );
});

test("a changed context reported by the node manager is taken over and told", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connection = await start(t, node, { liveness: false });
  const heard = listenTo(connection);
  await until("the stream", () => node.watchers() === 1);
  node.report(connection.id, State.UP, { context: withAddresses });
  await until("the change", () => heard.some(({ kind }) => kind === "updated"));
  assert.deepEqual(connection.context, withAddresses);
});

test("shown at another endpoint, which somebody else has asked for under our id, it is refreshed there and not moved back", async (t) => {
  const node = await startScriptedNodeManager(t);
  let laterMs = 0;
  const clock = { ...systemClock, nowMs: () => Date.now() + laterMs };
  const connection = await start(t, node, { liveness: false, clock });
  await until("the stream", () => node.watchers() === 1);
  const before = node.requests.length;
  node.report(connection.id, State.UP, { network_service_endpoint_name: "too early to be news", context: withAddresses });
  await until("the change", () => connection.context.ip_context !== undefined);
  laterMs = 2_000;
  node.report(connection.id, State.UP, { network_service_endpoint_name: "nse-other" });
  await until("the refresh", () => node.requests.length > before);
  assert.deepEqual(
    node.requests.slice(before).map(({ connection }) => [connection?.network_service_endpoint_name, connection?.state]),
    [["nse-other", State.UP]],
  );
});

test("a connection that was left is taken over under its id by the next process", async (t) => {
  const node = await startScriptedNodeManager(t);
  const first = await start(t, node, { name: "nsc", id: "nsc-0", liveness: false });
  await first.leave();
  await first.close();
  assert.deepEqual(node.closes, []);
  await until("no stream left", () => node.watchers() === 0);
  const again = await start(t, node, { name: "nsc", id: "nsc-0", liveness: false });
  assert.equal(again.connection.network_service_endpoint_name, "nse-1");
  await until("the refresh that claims it", () => node.requests.length === 2);
  assert.equal(node.requests[1]?.connection?.path?.path_segments[0]?.id, "nsc-0");
});

test("row 1.26: many connections share one monitor stream and heal on their own", async (t) => {
  const node = await startScriptedNodeManager(t);
  const connections = await Promise.all(
    [1, 2, 3, 4, 5].map((n) => start(t, node, { url: `kernel://s/if-${n}`, name: "pod", id: `pod-${n}`, liveness: false })),
  );
  await until("the stream", () => node.watchers() > 0);
  assert.equal(node.watchers(), 1);
  const heard = connections.map(listenTo);
  node.report("pod-3", State.DOWN);
  await until("healing", () => heard[2]?.some(({ kind }) => kind === "healed"));
  assert.deepEqual(
    heard.map((list) => list.length),
    [0, 0, 2, 0, 0],
  );
  for (const connection of connections) await connection.close();
  await until("no stream left", () => node.watchers() === 0);
});

test("an id that is in use is refused, and free again after close", async (t) => {
  const node = await startScriptedNodeManager(t);
  const dialer = createDialer({ dialTimeoutMs: 1_000 });
  t.after(() => dialer.close());
  const first = await start(t, node, { name: "pod", id: "pod-1", liveness: false, dialer });
  await assert.rejects(start(t, node, { name: "pod", id: "pod-1", liveness: false, dialer }), { code: Code.ALREADY_EXISTS });
  await first.close();
  await start(t, node, { name: "pod", id: "pod-1", liveness: false, dialer });
});

function shortLived(connection: Connection, lifeMs: number): Connection {
  const path = connection.path ?? { index: 0, path_segments: [] };
  const expires = { seconds: Math.floor((Date.now() + lifeMs) / 1_000), nanos: ((Date.now() + lifeMs) % 1_000) * 1_000_000 };
  return { ...connection, path: { ...path, path_segments: path.path_segments.map((segment) => ({ ...segment, expires })) } };
}
