/** Healing with real processes and no data plane: what the control plane alone does. Figures go to the test's output. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../../sdk/testing/until.js";
import { connectionsAtHops, healing } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;

test("rows 7.1, 7.2: two nodes: each nsmgr and forwarder in turn is killed and restarted", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "none" });
  await mesh.endpoint(1, "nse-1", service, "172.16.1.0/24");
  for (const { what, where } of [
    { what: "nsmgr", where: 0 },
    { what: "nsmgr", where: 1 },
    { what: "forwarder", where: 0 },
    { what: "forwarder", where: 1 },
  ] as const) {
    // nobody can see packets here: as long as a restart may take, also on a busy machine, the same endpoint is asked for
    const connection = await mesh.client(0, { url, patienceMs: 30_000 });
    const before = connection.context.ip_context?.src_ip_addrs;
    const component = mesh.nodes[where]?.[what];
    assert.ok(component);
    const healed = healing(connection);
    await component.kill();
    const restarted = component.start().then(() => performance.now());
    await healed;
    await restarted;
    t.diagnostic(
      `${component.name}: healed ${Math.round(performance.now() - (await restarted))} ms after it served again (0 = before)`,
    );
    await until("one connection at each hop", async () => (await connectionsAtHops(mesh)).every((count) => count === 1));
    assert.deepEqual(connection.context.ip_context?.src_ip_addrs, before);
    await connection.close();
    await until("nothing left", async () => (await connectionsAtHops(mesh)).every((count) => count === 0));
  }
});
