import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { manualClock } from "../clock.js";
import { ConnectionEventType, MonitorScopeSelector, State } from "../gen/connection.js";
import { PolicyRoute } from "../gen/connectioncontext.js";
import { NetworkService } from "../gen/registry.js";
import { ownInodeUrl } from "../linux/netns.js";
import { Code } from "../status.js";
import { createLog } from "../telemetry/log.js";
import { startEndpoint, startRegistry, temporaryFolder } from "../testing/endpoint-mesh.js";
import { until } from "../testing/until.js";
import type { Dialer } from "../transport/dial.js";
import type { Serving } from "./serve.js";
import type { ServedConnection } from "./tell-owner.js";

test("row 1.33: an endpoint registers and answers with addresses, routes, labels and its own interface", async (t) => {
  const mesh = await startRegistry(t);
  const endpoint = await startEndpoint(t, mesh, {
    cidrs: ["10.0.0.0/24", "fd00::/64"],
    routes: ["10.9.0.0/16"],
    labels: { app: "x" },
  });
  const entry = mesh.endpoints.entries.get("nse-1") ?? assert.fail();
  assert.deepEqual(entry.network_service_names, ["svc"]);
  assert.deepEqual(entry.network_service_labels["svc"]?.labels, { app: "x" });
  assert.equal(entry.url, endpoint.url);
  const answer = await mesh.request(endpoint, { id: "c1" });
  assert.equal(answer.id, "c1");
  assert.deepEqual(
    answer.path?.path_segments.map(({ name }) => name),
    ["client", "nse-1"],
  );
  assert.ok(answer.path?.path_segments[1]?.expires);
  assert.equal(answer.payload, "ETHERNET");
  const ip = answer.context?.ip_context ?? assert.fail();
  assert.deepEqual(ip.src_ip_addrs, ["10.0.0.1/32", "fd00::1/128"]);
  assert.deepEqual(
    ip.src_routes.map(({ prefix }) => prefix),
    ["10.0.0.0/32", "fd00::/128", "10.9.0.0/16"],
  );
  assert.deepEqual(
    ip.dst_routes.map(({ prefix }) => prefix),
    ["10.0.0.1/32", "fd00::1/128"],
  );
  assert.equal(answer.mechanism?.parameters["inodeURL"], ownInodeUrl());
  assert.equal(answer.mechanism?.parameters["name"]?.length, 15);
  const refreshed = await mesh.request(endpoint, answer);
  assert.deepEqual({ ...refreshed, path: answer.path }, answer);
});

test("row 2.14: the service is registered where it is missing and left alone where it is", async (t) => {
  const mesh = await startRegistry(t);
  const edited = NetworkService.fromPartial({ name: "kept", payload: "ETHERNET", matches: [{ fallthrough: true }] });
  mesh.services.entries.set("kept", edited);
  await startEndpoint(t, mesh, { services: ["svc", "kept"] });
  assert.equal(mesh.services.entries.get("svc")?.payload, "ETHERNET");
  assert.deepEqual(mesh.services.entries.get("kept"), edited);
  mesh.services.entries.clear();
  await startEndpoint(t, mesh, { name: "nse-2", registerService: false });
  assert.equal(mesh.services.entries.has("svc"), false);
});

test("row 2.14: a registry that forgot the service is told again", async (t) => {
  const mesh = await startRegistry(t);
  await startEndpoint(t, mesh, {});
  await until("the watch", () => mesh.services.openWatches === 1);
  mesh.services.entries.clear();
  mesh.services.endWatches();
  await until("the service", () => mesh.services.entries.has("svc"));
});

for (const unregisterItself of [true, false]) {
  test(`row 2.15: unregisterItself ${unregisterItself}`, async (t) => {
    const mesh = await startRegistry(t);
    const endpoint = await startEndpoint(t, mesh, { unregisterItself });
    await endpoint.close();
    assert.equal(mesh.endpoints.entries.has("nse-1"), !unregisterItself);
    assert.equal(await endpoint.closed, "closed");
  });
}

test("row 7.15: an endpoint that leaves serves on as long as it is told to, and no longer than its last connection; its log tells who stayed", async (t) => {
  const mesh = await startRegistry(t);
  const lines: string[] = [];
  const log = createLog({ name: "nse", level: "warn", destination: { write: (line) => lines.push(line) } });
  const stays = await startEndpoint(t, mesh, { name: "nse-1", unregisterItself: true, drainTimeoutMs: 60, log });
  await mesh.request(stays, { id: "c1" });
  await stays.close();
  const [told = "{}", ...more] = lines;
  assert.deepEqual(more, []);
  const { message, connections, waitedMs } = JSON.parse(told) as Record<string, unknown>;
  assert.match(String(message), /nse-1 leaves with connections/);
  assert.deepEqual([connections, waitedMs], [1, 60]);
  const goes = await startEndpoint(t, mesh, { name: "nse-2", unregisterItself: true, drainTimeoutMs: 3_600_000, log });
  const answer = await mesh.request(goes, { id: "c2" });
  const closing = goes.close();
  await until("it says that it leaves", () => !mesh.endpoints.entries.has("nse-2"));
  await mesh.dialer.connections(goes.url).close(answer, { signal: t.signal });
  await closing;
  assert.equal(lines.length, 1, "nobody stayed");
});

test("row 1.32: an endpoint nobody uses leaves; a connection keeps it, and requests come too late afterwards", async (t) => {
  const mesh = await startRegistry(t);
  const clock = manualClock(Date.now());
  const endpoint = await startEndpoint(t, mesh, { idleTimeoutMs: 15_000, clock, unregisterItself: true });
  const answer = await mesh.request(endpoint, { id: "c1" });
  clock.advance(60_000);
  assert.ok(mesh.endpoints.entries.has("nse-1"));
  await mesh.dialer.connections(endpoint.url).close(answer, { signal: t.signal });
  clock.advance(14_999);
  assert.ok(mesh.endpoints.entries.has("nse-1"));
  clock.advance(1);
  assert.equal(await endpoint.closed, "idle");
  assert.equal(mesh.endpoints.entries.has("nse-1"), false);
});

test("the author hears of a connection once, and of its end", async (t) => {
  const mesh = await startRegistry(t);
  const told: ServedConnection[] = [];
  const endpoint = await startEndpoint(t, mesh, { onConnection: (served) => void told.push(served) });
  const answer = await mesh.request(endpoint, { id: "c1", labels: { a: "b" } });
  await mesh.request(endpoint, answer);
  assert.equal(told.length, 1);
  assert.deepEqual(told[0]?.connection.labels, { a: "b" });
  assert.equal(told[0]?.interfaceName, answer.mechanism?.parameters["name"]);
  assert.equal(endpoint.connections.length, 1);
  await mesh.dialer.connections(endpoint.url).close(answer, { signal: t.signal });
  assert.equal(told[0]?.closed.aborted, true);
  assert.equal(endpoint.connections.length, 0);
});

test("what the author throws refuses the connection and leaves nothing", async (t) => {
  const mesh = await startRegistry(t);
  let refuse = true;
  const onConnection = (): void => {
    if (refuse) throw Object.assign(new Error("no"), { name: "StatusError", code: Code.FAILED_PRECONDITION, details: "full" });
  };
  const endpoint = await startEndpoint(t, mesh, { onConnection, cidrs: ["10.0.0.0/31"] });
  await assert.rejects(mesh.request(endpoint, { id: "c1" }), { code: Code.FAILED_PRECONDITION, details: "full" });
  assert.equal(endpoint.connections.length, 0);
  refuse = false;
  assert.deepEqual((await mesh.request(endpoint, { id: "c2" })).context?.ip_context?.src_ip_addrs, ["10.0.0.1/32"]);
});

const refusals = [
  { why: "another service", connection: { id: "c", network_service: "other" }, code: Code.FAILED_PRECONDITION },
  { why: "no mechanism in common", connection: { id: "c", mechanism: { type: "MEMIF" } }, code: Code.FAILED_PRECONDITION },
  {
    why: "a bad address",
    connection: { id: "c", context: { ip_context: { src_ip_addrs: ["x"] } } },
    code: Code.INVALID_ARGUMENT,
  },
];
for (const { why, connection, code } of refusals) {
  test(`refused: ${why}`, async (t) => {
    const mesh = await startRegistry(t);
    const endpoint = await startEndpoint(t, mesh, {});
    await assert.rejects(mesh.request(endpoint, connection), { code });
  });
}

test("refused: a pool that is empty, with the remedy", async (t) => {
  const mesh = await startRegistry(t);
  const endpoint = await startEndpoint(t, mesh, { cidrs: ["10.0.0.0/31"] });
  await mesh.request(endpoint, { id: "c1" });
  await assert.rejects(mesh.request(endpoint, { id: "c2" }), { code: Code.RESOURCE_EXHAUSTED, details: /larger CIDR/ });
});

test("row 4.9: policy routes come with their addresses once, change on demand, and clients are asked to refresh", async (t) => {
  const mesh = await startRegistry(t);
  const first = PolicyRoute.fromPartial({ from: "172.16.2.201/24", proto: "6", dst_port: "6666" });
  const policies = [first, { ...first, proto: "17" }];
  const endpoint = await startEndpoint(t, mesh, { policies, ipamPolicy: "strict" });
  const answer = await mesh.request(endpoint, { id: "c1" });
  assert.deepEqual(answer.context?.ip_context?.src_ip_addrs, ["10.0.0.1/32", "172.16.2.201/24"]);
  const refreshed = await mesh.request(endpoint, answer);
  assert.deepEqual(refreshed.context, answer.context);

  const states = watchStates(t, mesh.dialer, endpoint);
  await until("the first state", () => states.length === 1);
  endpoint.setPolicies([]);
  await until("the wish for a refresh", () => states.includes(State.REFRESH_REQUESTED));
  const without = await mesh.request(endpoint, refreshed);
  assert.deepEqual(without.context?.ip_context?.policies, []);
  assert.deepEqual(without.context?.ip_context?.src_ip_addrs, ["10.0.0.1/32"]);
});

test("row 4.1: addresses are kept over a restart of the endpoint, also from clients who come first", async (t) => {
  const mesh = await startRegistry(t);
  const stateDir = temporaryFolder(t);
  const before = await startEndpoint(t, mesh, { stateDir });
  const first = await mesh.request(before, { id: "c1" });
  const second = await mesh.request(before, { id: "c2" });
  await mesh.dialer.connections(before.url).close(first, { signal: t.signal });
  await before.close();
  writeFileSync(join(stateDir, "broken.connection"), "\xff\xff\xff");
  writeFileSync(join(stateDir, "half.connection.new"), "");

  const clock = manualClock(Date.now());
  const after = await startEndpoint(t, mesh, { stateDir, clock, maxTokenLifetimeMs: 60_000 });
  assert.equal(readdirSync(stateDir).length, 1);
  const newcomer = await mesh.request(after, { id: "c3" });
  assert.deepEqual(newcomer.context?.ip_context?.src_ip_addrs, ["10.0.0.1/32"]);
  assert.deepEqual((await mesh.request(after, second)).context, second.context);
  await after.close();

  // Nobody comes back: the reservation ends as a token would have.
  const later = await startEndpoint(t, mesh, { stateDir, clock, maxTokenLifetimeMs: 60_000 });
  assert.equal(readdirSync(stateDir).length, 2);
  clock.advance(60_000);
  await until("the end of the reservation", () => readdirSync(stateDir).length === 0);
  assert.deepEqual((await mesh.request(later, { id: "c4" })).context?.ip_context?.src_ip_addrs, ["10.0.0.1/32"]);
});

test("row 1.29: a client that stops refreshing loses its addresses", async (t) => {
  const mesh = await startRegistry(t);
  const clock = manualClock(Date.now());
  const endpoint = await startEndpoint(t, mesh, { clock, cidrs: ["10.0.0.0/31"] });
  await mesh.request(endpoint, { id: "c1" }, clock.nowMs() + 600_000);
  clock.advance(600_000);
  await until("the expiry", () => endpoint.connections.length === 0);
  assert.deepEqual((await mesh.request(endpoint, { id: "c2" }, clock.nowMs() + 600_000)).context?.ip_context?.src_ip_addrs, [
    "10.0.0.1/32",
  ]);
});

test("does not start with a malformed CIDR or route", async (t) => {
  const mesh = await startRegistry(t);
  await assert.rejects(startEndpoint(t, mesh, { cidrs: ["10.0.0.0/99"] }), { code: Code.INVALID_ARGUMENT });
  await assert.rejects(startEndpoint(t, mesh, { routes: ["here"] }), { code: Code.INVALID_ARGUMENT });
});

function watchStates(t: TestContext, dialer: Dialer, endpoint: Serving): State[] {
  const states: State[] = [];
  const stop = new AbortController();
  const watching = (async () => {
    for await (const event of dialer.monitor(endpoint.url, MonitorScopeSelector.fromPartial({}), stop.signal)) {
      if (event.type !== ConnectionEventType.DELETE) states.push(...Object.values(event.connections).map(({ state }) => state));
    }
  })().catch(() => {});
  t.after(async () => {
    stop.abort();
    await watching;
  });
  return states;
}
