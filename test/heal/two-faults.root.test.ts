/** Two components killed at once, and everything at once, while packets flow between two nodes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../../sdk/testing/until.js";
import { healing, listenTo } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";
import type { ComponentProcess } from "./processes.js";
import { trafficOf } from "./traffic.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;

test("row 7.5, 7.6: pairs of control components and the whole control plane: packets flow on, the connection is healed", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  await mesh.endpoint(1, "nse-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url, livenessIntervalMs: 100, livenessTimeoutMs: 3_000 });
  const [near, far] = mesh.nodes;
  assert.ok(near && far);
  const pairs: readonly (readonly ComponentProcess[])[] = [
    [near.nsmgr, near.forwarder],
    [near.nsmgr, far.nsmgr],
    [near.forwarder, far.forwarder],
    [mesh.registry, far.nsmgr],
    [mesh.registry, far.forwarder],
    [mesh.registry, near.nsmgr, near.forwarder, far.nsmgr, far.forwarder],
  ];
  for (const pair of pairs) {
    const heard = listenTo(connection);
    const traffic = trafficOf(connection);
    await Promise.all(pair.map((component) => component.kill()));
    await Promise.all(pair.map((component) => component.start()));
    const backMs = performance.now();
    await until("healing", () => heard.at(-1) === "healed", 30_000);
    const tookMs = Math.round(performance.now() - backMs);
    const report = await traffic.stop();
    const names = pair.map(({ name }) => name).join(" + ");
    t.diagnostic(`${names}: ${report.sent} echoes, ${report.lost} lost; healed ${tookMs} ms after all served again`);
    assert.equal(report.lost, 0, names);
    assert.equal(connection.connection.network_service_endpoint_name, "nse-1");
  }
});

test("row 7.5: the remote manager, or the registry, dies together with the endpoint's pod: another endpoint is found without it", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  const [, far] = mesh.nodes;
  assert.ok(far);
  let dying = await mesh.endpoint(1, "nse-far-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url, livenessIntervalMs: 50, livenessTimeoutMs: 300 });
  for (const [index, component] of [far.nsmgr, mesh.registry].entries()) {
    const next = await mesh.endpoint(index, `nse-next-${index}`, service, `172.16.${index + 2}.0/24`);
    const healed = healing(connection);
    await Promise.all([component.kill(), dying.kill()]);
    mesh.removePod(dying.netns);
    const { tookMs } = await healed;
    t.diagnostic(`${component.name} and ${dying.name}: healed ${tookMs} ms after the first sign, ${component.name} still away`);
    assert.equal(connection.connection.network_service_endpoint_name, next.name);
    const traffic = trafficOf(connection);
    const nowMs = performance.now();
    await until("packets", () => traffic.lastAnswerMs() > nowMs + 20);
    assert.equal((await traffic.stop()).lost, 0);
    await component.start();
    dying = next;
  }
});
