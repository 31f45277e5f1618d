/** A chain of functions with real packets: client → wire (a bridge in its own pod) → endpoint, and what heals it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import { until } from "../../sdk/testing/until.js";
import { functionsOf, registerChain, service, startWire } from "./chain.js";
import { healing, listenTo } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";
import { startTraffic } from "./traffic.js";

const url = `kernel://${service}/nsm-1`;
const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 500 };

for (const nodes of [1, 2] as const) {
  test(`row 2.8, 2.9: packets cross a passthrough, ${nodes} node(s); it carries no address; 7.1: its forwarder is killed, nothing is lost`, async (t) => {
    const mesh = await startProcessMesh(t, { nodes, dataplane: "kernel" });
    await registerChain(mesh);
    const pod = await startWire(t, mesh, nodes - 1);
    const endpoint = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24", { app: "nse" });
    assert.ok(endpoint);
    const connection = await mesh.client(0, { url, ...probe });
    assert.deepEqual(functionsOf(connection), ["wire-1", "nse-1"]);
    const [pair] = addressPairs(connection.connection);
    assert.ok(pair);
    const traffic = startTraffic({ netnsUrl: `file:///run/netns/${connection.netns}`, addresses: () => pair, intervalMs: 50 });
    const startMs = performance.now();
    await until("packets through the chain", () => traffic.lastAnswerMs() > startMs);
    await traffic.stop();
    assert.deepEqual(pod.addresses(), [], "a wire has no addresses");

    const heard = listenTo(connection);
    const steady = startTraffic({ netnsUrl: `file:///run/netns/${connection.netns}`, addresses: () => pair, intervalMs: 50 });
    const forwarder = mesh.nodes[nodes - 1]?.forwarder;
    await forwarder?.kill();
    await forwarder?.start();
    await until("healing", () => heard.at(-1) === "healed", 20_000);
    const report = await steady.stop();
    t.diagnostic(`${report.sent} echoes, ${report.lost} lost, longest gap ${report.longestGapMs} ms; ${heard.join(" ")}`);
    assert.equal(report.lost, 0);
  });
}

test("row 7.3: the endpoint behind a passthrough dies with its pod: the report passes through, another one is found", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "kernel" });
  await registerChain(mesh);
  await startWire(t, mesh, 0);
  const dying = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24", { app: "nse" });
  const connection = await mesh.client(0, { url, ...probe });
  await mesh.endpoint(0, "nse-2", service, "172.16.2.0/24", { app: "nse" });
  const healed = healing(connection);
  await dying.kill();
  mesh.removePod(dying.netns);
  t.diagnostic(`healed in ${(await healed).tookMs} ms`);
  assert.deepEqual(functionsOf(connection), ["wire-1", "nse-2"]);
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.16.2.1/32"]);
});
