/** Two nodes: client → manager 1 → forwarder 1 → manager 2 → forwarder 2 → endpoint, over unix sockets and TCP. */
import assert from "node:assert/strict";
import { names, startMesh } from "./mesh.js";
import { testShapes } from "./shapes.js";
import { until } from "./until.js";

const path = ["client", "nsmgr-n1", "forwarder-n1", "nsmgr-n2", "forwarder-n2", "nse-1"];

testShapes("row 1.2: a request to an endpoint of another node passes both managers and both forwarders", async (t, shape) => {
  const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
  const endpoint = await mesh.node("n2").serve({ name: "nse-1" });
  const first = await mesh.request("n1", { service: "service" });
  assert.deepEqual(names(first), path);
  const second = await mesh.refresh("n1", first);
  assert.deepEqual(
    second.path?.path_segments.map(({ id }) => id),
    first.path?.path_segments.map(({ id }) => id),
  );
  const [at2] = await mesh.node("n2").connections();
  assert.equal(at2?.path?.index, 3);
  assert.equal(at2?.id, first.path?.path_segments[3]?.id);
  await mesh.close("n1", second);
  await mesh.close("n1", second);
  assert.equal(endpoint.connections.length, 0);
  for (const node of ["n1", "n2"]) assert.deepEqual(await mesh.node(node).connections(), []);
});

testShapes("row 1.29: a dead client's connection goes on both nodes", async (t, shape) => {
  const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
  const endpoint = await mesh.node("n2").serve({ name: "nse-1" });
  await mesh.request("n1", { service: "service", lifetimeMs: 3_000 });
  for (const node of ["n1", "n2"]) {
    await until(`${node} has let it go`, async () => (await mesh.node(node).connections()).length === 0);
  }
  await until("the endpoint too", () => endpoint.connections.length === 0);
});

testShapes("row 2.3: the same endpoint by name, from both nodes: local for one, remote for the other", async (t, shape) => {
  const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
  await mesh.node("n2").serve({ name: "nse-1" });
  const near = await mesh.request("n2", { service: "service", endpoint: "nse-1" });
  const far = await mesh.request("n1", { service: "service", endpoint: "nse-1" });
  assert.deepEqual(names(near), ["client", "nsmgr-n2", "forwarder-n2", "nse-1"]);
  assert.deepEqual(names(far), path);
});
