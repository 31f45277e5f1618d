/** Healing with real processes and no data plane: what the control plane alone does. Figures go to the test's output. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { healing } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;

test("row 7.3: local endpoint killed, another one takes over; and every connection heals when 40 are hit at once", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "none" });
  const first = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24");
  const one = await mesh.client(0, { url });
  const others = await Promise.all(Array.from({ length: 39 }, () => mesh.client(0, { url })));
  await mesh.endpoint(0, "nse-2", service, "172.16.2.0/24");
  const healed = Promise.all([one, ...others].map((connection) => healing(connection)));
  await first.kill();
  const tookMs = (await healed).map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  t.diagnostic(`40 connections healed: median ${tookMs[20]} ms, last ${tookMs[39]} ms`);
  for (const connection of [one, ...others]) {
    assert.equal(connection.connection.network_service_endpoint_name, "nse-2");
    assert.match(connection.context.ip_context?.src_ip_addrs[0] ?? "", /^172\.16\.2\./);
  }
  const addresses = new Set([one, ...others].map((connection) => connection.context.ip_context?.src_ip_addrs[0]));
  assert.equal(addresses.size, 40, "no address twice");
});

test("row 7.3: remote endpoint killed, another one on this node takes over", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "none" });
  const far = await mesh.endpoint(1, "nse-far", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url });
  await mesh.endpoint(0, "nse-near", service, "172.16.2.0/24");
  const healed = healing(connection);
  await far.kill();
  t.diagnostic(`healed in ${(await healed).tookMs} ms`);
  assert.equal(connection.connection.network_service_endpoint_name, "nse-near");
});
