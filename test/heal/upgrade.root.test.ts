/** A rolling upgrade from an earlier build to this one and back, part by part, under a thousand packets a second. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import { until } from "../../sdk/testing/until.js";
import { earlierBuild } from "./earlier-build.js";
import { connectionsAtHops } from "./listen.js";
import { startProcessMesh } from "./process-mesh.js";
import { thisBuild } from "./processes.js";
import { startSteadyPackets } from "./steady-packets.js";

const url = "kernel://icmp-responder/nsm-1";

test("rows 7.1, 7.2, 7.4: every part is upgraded beside older ones, and two go back: 0 packets lost, new connections throughout", async (t) => {
  const earlier = earlierBuild(t);
  if ("skip" in earlier) return t.skip(earlier.skip);
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", program: earlier.program });
  await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24");
  const connection = await mesh.client(0, { url, livenessIntervalMs: 100, livenessTimeoutMs: 3_000 });
  const stream = startSteadyPackets({
    netnsUrl: `file:///run/netns/${connection.netns}`,
    packetsPerSecond: 1_000,
    addresses: () => addressPairs(connection.connection)[0] ?? { source: "", destination: "" },
  });
  const [near, far] = mesh.nodes;
  assert.ok(near && far);
  const steps = [
    ...[mesh.registry, near.nsmgr, near.forwarder, far.nsmgr, far.forwarder].map((part) => ({ part, program: thisBuild })),
    ...[near.forwarder, far.nsmgr].map((part) => ({ part, program: earlier.program })),
  ];
  for (const { part, program } of steps) {
    await part.kill("SIGTERM");
    await part.start(program);
    const what = `${part.name} ${program === thisBuild ? "upgraded" : "rolled back"}`;
    // Each hop knows it again, and nothing was made twice.
    const known = async () => (await connectionsAtHops(mesh)).every((count) => count === 1);
    await until(`one connection at each hop after ${what}`, known, 40_000);
    assert.equal(connection.connection.network_service_endpoint_name, "nse-1", what);
    const another = await mesh.client(0, { url });
    assert.equal(another.connection.network_service_endpoint_name, "nse-1", what);
    assert.notDeepEqual(another.context.ip_context?.src_ip_addrs, connection.context.ip_context?.src_ip_addrs, what);
    await another.close();
    t.diagnostic(`${what}: ${stream.sent()} packets so far`);
  }
  const { sent, lost, lostNumbers, refused } = await stream.stop();
  assert.equal(lost, 0, `of ${sent}: ${lostNumbers.join(" ")} ${JSON.stringify(refused)}`);
});
