/** Healing with real packets: components are killed while echo requests run through a kernel connection. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { until } from "../../sdk/testing/until.js";
import { healing, listenTo } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";
import { trafficOf } from "./traffic.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;
/** The probe of the figures in the issue "Nothing is lost". */
const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 200 };

for (const nodes of [1, 2] as const) {
  const where = nodes === 1 ? "local" : "two nodes";
  test(`rows 7.1, 7.2, 7.4, 7.8: ${where}: forwarder, nsmgr and registry killed and restarted in turn, no packet is lost`, async (t) => {
    const mesh = await startProcessMesh(t, { nodes, dataplane: "kernel" });
    await mesh.endpoint(nodes - 1, "nse-1", service, "172.16.1.0/24");
    const connection = await mesh.client(0, { url, ...probe, livenessTimeoutMs: 2_000 });
    for (const what of ["forwarder", "nsmgr", "registry"] as const) {
      const heard = listenTo(connection);
      const traffic = trafficOf(connection);
      const component = what === "registry" ? mesh.registry : mesh.nodes[nodes - 1]?.[what];
      assert.ok(component);
      await component.kill();
      await component.start();
      if (what !== "registry") await until("healing", () => heard.at(-1) === "healed", 20_000);
      const { sent, lost, longestGapMs } = await traffic.stop();
      t.diagnostic(`${what}: ${sent} echoes, ${lost} lost, longest gap ${longestGapMs} ms; ${heard.join(" ")}`);
      assert.equal(lost, 0, what);
      assert.equal(connection.connection.network_service_endpoint_name, "nse-1");
    }
  });
}

test("rows 7.1, 7.2, 7.8: two nodes, each one process: killed and restarted, no packet is lost", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", joined: true });
  await mesh.endpoint(1, "nse-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url, ...probe, livenessTimeoutMs: 2_000 });
  for (const node of mesh.nodes) {
    const heard = listenTo(connection);
    const traffic = trafficOf(connection);
    await node.nsmgr.kill();
    await node.nsmgr.start();
    await until("healing", () => heard.at(-1) === "healed", 20_000);
    const { sent, lost, longestGapMs } = await traffic.stop();
    t.diagnostic(`${node.name}: ${sent} echoes, ${lost} lost, longest gap ${longestGapMs} ms; ${heard.join(" ")}`);
    assert.equal(lost, 0, node.name);
    assert.equal(connection.connection.network_service_endpoint_name, "nse-1");
  }
});

for (const { where, first, second } of [
  { where: "local", first: 0, second: 0 },
  { where: "remote", first: 1, second: 0 },
]) {
  test(`row 7.3: ${where} endpoint dies with its pod: another one, other addresses, packets again`, async (t) => {
    const mesh = await startProcessMesh(t, { nodes: first + 1, dataplane: "kernel" });
    const dying = await mesh.endpoint(first, "nse-1", service, "172.16.1.0/24");
    const connection = await mesh.client(0, { url, ...probe });
    await mesh.endpoint(second, "nse-2", service, "172.16.2.0/24");
    const healed = healing(connection);
    const traffic = trafficOf(connection);
    await until("a packet", () => traffic.lastAnswerMs() > 0);
    const killedMs = performance.now();
    await dying.kill();
    mesh.removePod(dying.netns);
    const change = await healed;
    assert.equal(change.how, "reselect");
    await until("packets to the new endpoint", () => traffic.lastAnswerMs() > killedMs + 100);
    const report = await traffic.stop();
    t.diagnostic(`healed ${change.tookMs} ms after the first sign, longest gap in the packets ${report.longestGapMs} ms`);
    assert.equal(connection.connection.network_service_endpoint_name, "nse-2");
    assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.16.2.1/32"]);
    assert.equal(connection.interfaceName, "nsm-1");
  });
}

test("row 7.7: the interface goes down under a healthy control plane: found by the probe, repaired with the same endpoint", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "kernel" });
  await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  for (const [beat, timing] of Object.entries({ "every 50 ms": probe, "every 200 ms, an answer within 1 s (defaults)": {} })) {
    const connection = await mesh.client(0, { url, ...timing });
    const healed = healing(connection);
    const traffic = trafficOf(connection);
    await until("a packet", () => traffic.lastAnswerMs() > 0);
    const cutMs = performance.now();
    takeDown(connection.netns, connection.interfaceName);
    const { how, tookMs } = await healed;
    await until("packets again", () => traffic.lastAnswerMs() > cutMs + 100);
    const { longestGapMs } = await traffic.stop();
    t.diagnostic(`probe ${beat}: healed by ${how} ${tookMs} ms after the first sign, longest gap ${longestGapMs} ms`);
    assert.equal(connection.connection.network_service_endpoint_name, "nse-1", beat);
  }
});

test("row 7.8: endpoint process killed, its pod lives: packets flow on, nothing is reselected", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "kernel" });
  const endpoint = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url, ...probe, livenessTimeoutMs: 2_000 });
  await mesh.endpoint(0, "nse-2", service, "172.16.2.0/24");
  const heard = listenTo(connection);
  const traffic = trafficOf(connection);
  await endpoint.kill();
  await until("the trouble", () => heard.includes("trouble"));
  await endpoint.start();
  await until("healing", () => heard.includes("healed"), 20_000);
  const report = await traffic.stop();
  t.diagnostic(`${report.sent} echoes, ${report.lost} lost; ${heard.join(" ")}`);
  assert.equal(report.lost, 0);
  assert.equal(connection.connection.network_service_endpoint_name, "nse-1");
});

function takeDown(netns: string, interfaceName: string): void {
  const handle = openNetns(netns);
  const socket = openNetlinkSocket(handle);
  try {
    const link = getLink(socket, interfaceName);
    assert.ok(link, `no ${interfaceName} in ${netns}`);
    socket.perform([setLink(link.index, { up: false })]);
  } finally {
    socket.close();
    handle.close();
  }
}
