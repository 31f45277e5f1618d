/** Healing with real processes and no data plane: what the control plane alone does. Figures go to the test's output. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { healing, listenTo } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;

test("row 7.4: registry killed and restarted: old connections are not touched, new ones work", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "none" });
  await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url });
  const heard = listenTo(connection);
  await mesh.registry.kill();
  await mesh.registry.start();
  const startMs = performance.now();
  const another = await mesh.client(0, { url });
  t.diagnostic(`a new connection ${Math.round(performance.now() - startMs)} ms after the registry served again`);
  assert.equal(another.connection.network_service_endpoint_name, "nse-1");
  assert.deepEqual(heard, []);
});

test("row 7.5: registry and local endpoint killed together", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "none" });
  const first = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url });
  await mesh.endpoint(0, "nse-2", service, "172.16.2.0/24");
  const healed = healing(connection);
  await Promise.all([mesh.registry.kill(), first.kill()]);
  await mesh.registry.start();
  await healed;
  assert.equal(connection.connection.network_service_endpoint_name, "nse-2");
});

test("row 7.6: the whole system is killed and comes back", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "none" });
  const endpoint = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url });
  const [node] = mesh.nodes;
  assert.ok(node);
  const healed = healing(connection);
  const all = [endpoint, node.forwarder, node.nsmgr, mesh.registry];
  await Promise.all(all.map((component) => component.kill()));
  for (const component of all.toReversed()) await component.start();
  const backMs = performance.now();
  await healed;
  t.diagnostic(`healed ${Math.round(performance.now() - backMs)} ms after the last component was back`);
  assert.equal(connection.connection.network_service_endpoint_name, "nse-1");
});
