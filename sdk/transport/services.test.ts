import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { type TestContext, test } from "node:test";
import type { Found } from "../api.js";
import { ConnectionEvent } from "../gen/connection.js";
import { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import { matchesEndpoint, matchesService } from "../registry/match.js";
import { Code } from "../status.js";
import { createHealth, ServingStatus } from "../telemetry/health.js";
import { silentLog } from "../telemetry/log.js";
import { createFakeRegistry } from "../testing/fake-registry.js";
import { startTestServer, temporaryFolder } from "../testing/test-server.js";
import { createDialer } from "./dial.js";
import type { CallReport, ServiceBinding } from "./edge.js";
import { listen } from "./listen.js";
import { endpointRegistryService, findOf, healthService, inspectService, serviceRegistryService } from "./services.js";
import { sharedEncoder } from "./shared-encoder.js";

const never = new AbortController().signal;
const options = { signal: never };

test("both registries: register, find, watch, unregister over the wire", async (t) => {
  const services = createFakeRegistry<NetworkService>(matchesService);
  const endpoints = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  const { dialer, url } = await start(t, [
    serviceRegistryService(services, findOf(services)),
    endpointRegistryService(endpoints, findOf(endpoints)),
  ]);
  const remoteServices = dialer.serviceRegistry(url);
  const remoteEndpoints = dialer.endpointRegistry(url);
  await remoteServices.register(NetworkService.fromPartial({ name: "svc", payload: "IP" }), options);
  const all = NetworkServiceEndpoint.fromPartial({});
  const stop = new AbortController();
  const watch = remoteEndpoints.find(all, { watch: true, signal: stop.signal })[Symbol.asyncIterator]();
  const labels = { svc: { labels: { app: "x" } } };
  const entry = NetworkServiceEndpoint.fromPartial({ name: "nse", url: "unix:///x", network_service_labels: labels });
  await remoteEndpoints.register(entry, options);
  const seen: Found<NetworkServiceEndpoint> = (await watch.next()).value;
  assert.deepEqual(
    [seen.entry.name, seen.entry.network_service_labels["svc"]?.labels, seen.deleted],
    ["nse", { app: "x" }, false],
  );
  assert.deepEqual(
    (await list(remoteServices.find(NetworkService.fromPartial({ name: "svc" }), { watch: false, ...options }))).map(
      ({ entry }) => entry.payload,
    ),
    ["IP"],
  );
  await remoteEndpoints.unregister(entry, options);
  assert.equal((await watch.next()).value.deleted, true);
  const end = watch.next();
  stop.abort();
  await assert.rejects(end, { code: Code.CANCELLED });
});

test("a watch whose registry fails ends with its status, and one that is refused CANCELLED inside is UNAVAILABLE", async (t) => {
  const endpoints = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  const { dialer, url } = await start(t, [endpointRegistryService(endpoints, findOf(endpoints))]);
  endpoints.failure = new DOMException("cut inside", "AbortError");
  const query = NetworkServiceEndpoint.fromPartial({});
  await assert.rejects(list(dialer.endpointRegistry(url).find(query, { watch: true, ...options })), { code: Code.UNAVAILABLE });
});

test("an operator's questions and the log level travel", async (t) => {
  const { dialer, url } = await start(t, [
    inspectService({
      explain: async ({ connection_id }) => ({ component: connection_id, decisions: [] }),
      getReport: async ({ section }) => ({
        component: "x",
        facts: [{ section, name: "n", value: "v", detail: "", connection_id: "" }],
      }),
      setLogLevel: async ({ level }) => ({ level: level || "info" }),
    }),
  ]);
  const inspect = dialer.inspect(url);
  assert.equal((await inspect.explain({ connection_id: "c1" }, options)).component, "c1");
  assert.equal((await inspect.getReport({ section: "objects" }, options)).facts[0]?.section, "objects");
  assert.equal((await inspect.setLogLevel({ level: "" }, options)).level, "info");
});

test("health follows what the component says of itself", async (t) => {
  const health = createHealth();
  const { dialer, url } = await start(t, [healthService(health)]);
  assert.equal(await dialer.health(url, "", never), ServingStatus.NOT_SERVING);
  health.set("", true);
  assert.equal(await dialer.health(url, "grpc.health.v1.Health", never), ServingStatus.SERVING);
});

test("every finished call is reported with method, code and time", async (t) => {
  const reports: CallReport[] = [];
  const health = createHealth();
  const { dialer, url } = await start(t, [healthService(health)], (report) => reports.push(report));
  await dialer.health(url, "", never);
  await assert.rejects(dialer.health(url, "nonsense", never));
  assert.deepEqual(
    reports.map(({ method, code }) => [method, code]),
    [
      ["/grpc.health.v1.Health/Check", Code.OK],
      ["/grpc.health.v1.Health/Check", Code.NOT_FOUND],
    ],
  );
});

test("a method that the server does not have is UNIMPLEMENTED", async (t) => {
  const { dialer, url } = await startTestServer(t);
  await assert.rejects(dialer.inspect(url).setLogLevel({ level: "" }, options), { code: Code.UNIMPLEMENTED });
});

test("a malformed url is refused by the dialer with the reason", () => {
  const dialer = createDialer({ dialTimeoutMs: 100 });
  assert.throws(() => dialer.connections("inode://4/5"), { code: Code.INVALID_ARGUMENT, message: /unknown scheme inode/ });
  dialer.close();
});

test("a message for many streams is encoded once, and the memory for it is bounded", () => {
  let encodings = 0;
  const encode = sharedEncoder<ConnectionEvent>({
    ...ConnectionEvent,
    encode(message, writer) {
      encodings++;
      return ConnectionEvent.encode(message, writer);
    },
  });
  const event: ConnectionEvent = { type: 1, connections: {} };
  const bytes = encode(event);
  for (let i = 0; i < 1000; i++) assert.equal(encode(event), bytes);
  assert.equal(encodings, 1);
  for (let i = 0; i < 100; i++) encode({ type: 1, connections: {} });
  assert.deepEqual(encode(event), bytes);
  assert.equal(encodings, 102);
});

async function list<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function start(t: TestContext, services: ServiceBinding[], onCall?: (report: CallReport) => void) {
  const folder = temporaryFolder(t);
  const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"));
  const urls = [`unix://${folder}/x.sock`, hasIpv6 ? "tcp://[::1]:0" : "tcp://127.0.0.1:0"];
  const listener = await listen({ urls, services, log: silentLog, signal: never, onCall });
  const dialer = createDialer({ dialTimeoutMs: 2000 });
  t.after(async () => {
    dialer.close();
    await listener.drain(0);
  });
  // the second address, so that IPv6 is spoken as well where the machine has it
  return { dialer, url: listener.urls[1] ?? "" };
}
