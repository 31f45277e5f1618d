import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { manualClock } from "../sdk/clock.js";
import { readSettings } from "../sdk/config/table.js";
import { Connection, State } from "../sdk/gen/connection.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { kernelMechanism } from "../sdk/mechanisms/kernel.js";
import { createMonitorHub } from "../sdk/monitor/hub.js";
import { matchesEndpoint, matchesService } from "../sdk/registry/match.js";
import { Code } from "../sdk/status.js";
import { ServingStatus } from "../sdk/telemetry/health.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { createMetrics, type Metrics } from "../sdk/telemetry/metrics.js";
import { createFakeRegistry } from "../sdk/testing/fake-registry.js";
import { until } from "../sdk/testing/until.js";
import { timestampOf } from "../sdk/timestamp.js";
import { createDialer } from "../sdk/transport/dial.js";
import { listen } from "../sdk/transport/listen.js";
import {
  connectionService,
  endpointRegistryService,
  findOf,
  monitorService,
  serviceRegistryService,
} from "../sdk/transport/services.js";
import { forwarderSettings } from "./config.js";
import type { DataPlane } from "./dataplane/dataplane.js";
import { run } from "./main.js";
import { startForwarder } from "./start.js";
import { recordingDataPlane } from "./testing/recording-data-plane.js";

test("a forwarder registers with its manager, says what it can do, and takes itself out again", async (t) => {
  const node = await createNode(t);
  const forwarder = await node.forwarder();
  await forwarder.registered;
  const entry = node.endpoints.entries.get("forwarder-1");
  assert.deepEqual(entry?.network_service_names, ["forwarder"]);
  assert.deepEqual(entry.network_service_labels["forwarder"]?.labels, { p2p: "true" });
  assert.equal(entry.url, node.forwarderUrl);
  assert.equal(await node.dialer.health(node.forwarderUrl, "", node.signal), ServingStatus.SERVING);
  const report = await node.dialer.inspect(node.forwarderUrl).getReport({ section: "capabilities" }, { signal: node.signal });
  assert.deepEqual(
    report.facts.map(({ name, value }) => [name, value]),
    [
      ["recording", "yes"],
      ["mechanisms", "KERNEL, VXLAN"],
    ],
  );
  await forwarder.stop();
  assert.equal(node.endpoints.entries.has("forwarder-1"), false);
});

test("row 10.2: connections, counters and decisions are in the report", async (t) => {
  const node = await createNode(t);
  node.plane.counted = { rxBytes: 1n, txBytes: 2n, rxPackets: 3n, txPackets: 4n, drops: 0n };
  await node.forwarder();
  const answer = await node.request();
  const own = answer.path?.path_segments[1]?.id ?? "";
  const inspect = node.dialer.inspect(node.forwarderUrl);
  const { facts } = await inspect.getReport({ section: "" }, { signal: node.signal });
  assert.ok(
    facts.some((fact) => fact.section === "connections" && fact.connection_id === own && fact.detail.includes("MTU 1500")),
  );
  assert.ok(facts.some((fact) => fact.section === "counters" && fact.name === "txBytes" && fact.value === "2"));
  const { decisions } = await inspect.explain({ connection_id: own }, { signal: node.signal });
  assert.deepEqual(
    decisions.map(({ candidate, verdict }) => [candidate, verdict]),
    [
      ["KERNEL", "CHOSEN"],
      ["KERNEL", "CHOSEN"],
    ],
  );
});

test("row 10.2: counters are published as metrics while a connection lives, and forgotten after it", async (t) => {
  const node = await createNode(t);
  const metrics = createMetrics("forwarder-1");
  await node.forwarder(metrics);
  const answer = await node.request();
  const publishedAfter = async (txBytes: bigint): Promise<string> => {
    node.plane.counted = { rxBytes: 1n, txBytes, rxPackets: 1n, txPackets: 1n, drops: 0n };
    node.clock.advance(10_000);
    return until("the counter is published", async () => {
      const text = await metrics.registry.metrics();
      return new RegExp(`metric="server_rx_bytes".* ${txBytes}$`, "m").test(text) && text;
    });
  };
  await publishedAfter(100n);
  assert.match(await publishedAfter(250n), /segment="forwarder-1",metric="client_rx_packets".* 1$/m);
  await node.dialer.connections(node.forwarderUrl).close(answer, { signal: node.signal });
  node.clock.advance(10_000);
  await until("it is forgotten", async () => !(await metrics.registry.metrics()).includes("server_rx_bytes"));
});

test("a broken link makes the connection DOWN for who watches, and a refresh makes it UP", async (t) => {
  const node = await createNode(t);
  const forwarder = await node.forwarder();
  const answer = await node.request();
  const own = answer.path?.path_segments[1]?.id ?? "";
  const states: State[] = [];
  const selector = { path_segments: [], network_services: [] };
  const wait = async (count: number): Promise<void> => {
    for await (const event of node.dialer.monitor(node.forwarderUrl, selector, node.signal)) {
      for (const connection of Object.values(event.connections)) states.push(connection.state);
      if (states.length === 1 && count === 2) node.plane.emit({ kind: "broken", id: own, reason: "link nsm-1 has vanished" });
      if (states.length >= count) return;
    }
  };
  await wait(2);
  assert.deepEqual(states, [State.UP, State.DOWN]);
  await node.request({ connection: answer });
  assert.equal(forwarder.hub.get(own)?.state, State.UP);
});

test("after a restart the connections go on: a refresh is one, and their next hop hears of the close", async (t) => {
  const node = await createNode(t);
  const first = await node.forwarder();
  const answer = await node.request();
  await first.stop();
  assert.equal(node.plane.built.size, 1, "packets flow on");
  const second = await node.forwarder();
  assert.equal([...second.hub.connections()].length, 1);
  const refreshed = await node.request({ connection: answer });
  assert.equal(node.asked.at(-1)?.mechanism_preferences.length, 0, "nothing is negotiated anew");
  assert.equal(node.plane.built.size, 1);
  assert.equal([...node.plane.built.values()][0]?.generation, 2);
  await node.dialer.connections(node.forwarderUrl).close(refreshed, { signal: node.signal });
  assert.equal(node.plane.built.size, 0);
  assert.equal(node.closed.length, 1);
});

test("after a restart a connection that nobody refreshes is closed when it expires", async (t) => {
  const node = await createNode(t);
  const first = await node.forwarder();
  await node.request();
  await first.stop();
  await node.forwarder();
  assert.equal(node.plane.built.size, 1);
  const told = new Promise<void>((resolve) => node.onClose(resolve));
  node.clock.advance(61_000);
  await told;
  assert.equal(node.plane.built.size, 0);
});

test("a second forwarder on the same socket is refused and leaves the first alone", async (t) => {
  const node = await createNode(t);
  await node.forwarder();
  await assert.rejects(node.forwarder(), { code: Code.ALREADY_EXISTS });
  await node.request();
});

test("the command refuses wrong settings all at once, and to start without --insecure", async () => {
  const written: string[] = [];
  const original = process.stderr.write;
  process.stderr.write = ((text: string) => written.push(text) > 0) as typeof process.stderr.write;
  try {
    const { signal } = new AbortController();
    const env = { NSM_TUNNEL_IP: "here", NSM_VXLAN_PORT: "70000", NSM_MECHANISM_PRIORITY: "KERNEL,FOO" };
    assert.equal(await run({ argv: ["--dataplane", "wires"], env, signal }), 2);
    assert.equal(await run({ argv: [], env: {}, signal }), 2);
  } finally {
    process.stderr.write = original;
  }
  for (const name of ["NSM_TUNNEL_IP", "NSM_VXLAN_PORT", "NSM_MECHANISM_PRIORITY", "--dataplane"]) {
    assert.ok(written[0]?.includes(name), name);
  }
  assert.match(written[1] ?? "", /--insecure/);
});

test("upstream's environment is understood", () => {
  const env = {
    NSM_NAME: "forwarder-2",
    NSM_LABELS: "p2p:true,sriov:false",
    NSM_VXLAN_PORT: "0",
    NSM_TUNNEL_IP: "198.18.0.0/15",
    NSM_MECHANISM_PRIORITY: "vxlan,KERNEL",
    NSM_CONNECT_TO: "unix:///nsm.sock",
  };
  const read = readSettings({ name: "weft forwarder", summary: "" }, forwarderSettings, { argv: ["--dataplane=none"], env });
  assert.ok(read.ok);
  assert.equal(read.values.vxlanPort, 4789);
  assert.deepEqual({ ...read.values.labels }, { p2p: "true", sriov: "false" });
  assert.deepEqual(read.values.mechanismPriority, ["VXLAN", "KERNEL"]);
  assert.equal(read.values.dataPlane, "none");
});

// Helpers: a node whose manager is a registry only, with one endpoint, and a forwarder on real sockets.

async function createNode(t: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), "wt-"));
  const clock = manualClock(Date.now());
  const plane = recordingDataPlane();
  const stop = new AbortController();
  const { signal } = stop;
  const endpoints = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  const services = createFakeRegistry<NetworkService>(matchesService);
  const asked: Parameters<Parameters<typeof connectionService>[0]["request"]>[0][] = [];
  const closed: Connection[] = [];
  let onClose = (): void => {};
  const endpoint = connectionService({
    async request(request) {
      asked.push(request);
      const connection = request.connection ?? Connection.fromPartial({});
      const segments = connection.path?.path_segments ?? [];
      const mechanism = kernelMechanism({ netnsUrl: "file:///proc/self/ns/net", interfaceName: "nse-if" });
      return { ...connection, mechanism, path: { index: connection.path?.index ?? 0, path_segments: segments } };
    },
    async close(connection) {
      closed.push(connection);
      onClose();
    },
  });
  const managerUrl = `unix://${dir}/nsm.sock`;
  const manager = await listen({
    urls: [managerUrl],
    services: [
      endpointRegistryService(endpoints, findOf(endpoints)),
      serviceRegistryService(services, findOf(services)),
      endpoint,
      monitorService(createMonitorHub()),
    ],
    log: silentLog,
    signal,
  });
  const dialer = createDialer({ dialTimeoutMs: 1_000 });
  const running: { stop(): Promise<void> }[] = [];
  t.after(async () => {
    for (const one of running.reverse()) await one.stop();
    stop.abort();
    dialer.close();
    await manager.drain(0);
    rmSync(dir, { recursive: true, force: true });
  });
  await endpoints.register({ ...emptyEndpoint, name: "nse-1", network_service_names: ["svc"], url: managerUrl }, { signal });
  const forwarderUrl = `unix://${dir}/forwarder.sock`;
  const env = { NSM_NAME: "forwarder-1", NSM_CONNECT_TO: managerUrl, NSM_LISTEN_ON: forwarderUrl, WEFT_STATE_DIR: dir };
  const read = readSettings({ name: "weft forwarder", summary: "" }, forwarderSettings, { argv: [], env });
  assert.ok(read.ok);
  const config = read.values;
  return {
    ...{ plane, clock, signal, dialer, endpoints, asked, closed, forwarderUrl },
    onClose(action: () => void) {
      onClose = action;
    },
    async forwarder(metrics?: Metrics) {
      // The data plane outlives its forwarder, as the kernel does.
      const dataPlane: DataPlane = plane;
      const forwarder = await startForwarder(config, { log: silentLog, clock, dataPlane, metrics });
      running.push(forwarder);
      return forwarder;
    },
    request(asking: { connection?: Connection } = {}): Promise<Connection> {
      const expires = timestampOf(clock.nowMs() + 60_000);
      const connection =
        asking.connection ??
        Connection.fromPartial({
          id: "client-1",
          network_service: "svc",
          network_service_endpoint_name: "nse-1",
          payload: "ETHERNET",
          path: { index: 0, path_segments: [{ name: "client", id: "client-1", expires }] },
        });
      const mechanism_preferences = [kernelMechanism({ netnsUrl: "file:///proc/self/ns/net", interfaceName: "nsm-1" })];
      return dialer.connections(forwarderUrl).request({ connection, mechanism_preferences }, { signal });
    },
  };
}

const emptyEndpoint: NetworkServiceEndpoint = {
  name: "",
  network_service_names: [],
  network_service_labels: {},
  url: "",
  path_ids: [],
};
