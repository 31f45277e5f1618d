/** Clients without a probe of the data path, and an endpoint on the other node that really dies. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { until } from "../../sdk/testing/until.js";
import { healing } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;

test("row 7.3: no probe, the pod of a far endpoint goes: a hop has seen it, so another endpoint is asked for without patience", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  const far = await mesh.endpoint(1, "nse-1", service, "172.16.1.0/24,fd00:1::/64");
  // Patience would not end within this test.
  const client = await mesh.client(0, { url, liveness: false, patienceMs: 600_000 });
  await mesh.endpoint(1, "nse-2", service, "172.16.2.0/24,fd00:2::/64");
  const healed = healing(client);
  await far.kill();
  mesh.removePod(far.netns);
  const { how, tookMs } = await healed;
  t.diagnostic(`healed by ${how} in ${tookMs} ms`);
  assert.equal(how, "reselect");
  assert.equal(client.connection.network_service_endpoint_name, "nse-2");
  await answers(client);
});

test("row 7.3: no probe, the process of a far endpoint goes and its pod stays: another path beside it when patience ends", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  const far = await mesh.endpoint(1, "nse-1", service, "172.16.1.0/24,fd00:1::/64");
  const client = await mesh.client(0, { url, liveness: false, patienceMs: 2_000 });
  await mesh.endpoint(1, "nse-2", service, "172.16.2.0/24,fd00:2::/64");
  const healed = healing(client);
  await far.kill();
  const { how, tookMs } = await healed;
  t.diagnostic(`healed by ${how} in ${tookMs} ms`);
  assert.equal(how, "beside");
  assert.ok(tookMs >= 2_000, `${tookMs}`);
  assert.equal(client.connection.network_service_endpoint_name, "nse-2");
  await answers(client);
});

async function answers({ connection, netns }: { connection: Parameters<typeof addressPairs>[0]; netns: string }): Promise<void> {
  const pairs = addressPairs(connection);
  assert.equal(pairs.length, 2);
  const { signal } = new AbortController();
  for (const pair of pairs) {
    const answered = async (): Promise<boolean> =>
      (await icmpEcho({ netnsUrl: `file:///run/netns/${netns}`, ...pair, timeoutMs: 1_000, signal })) !== undefined;
    await until(`an answer from ${pair.destination}`, answered, 20_000);
  }
}
