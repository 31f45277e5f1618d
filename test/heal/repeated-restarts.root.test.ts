/** Components restarted again and again under packets of both families, for clients with a probe of the data path and without. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { until } from "../../sdk/testing/until.js";
import { connectionsAtHops } from "./listen.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";
import { type SteadyReport, startSteadyPackets } from "./steady-packets.js";

const url = "kernel://icmp-responder/nsm-1";
const restarts = 15;
const timeoutMs = 40_000;

test("row 7.12: 15 restarts of components in turn, IPv4 and IPv6, with the probe and without it: 0 packets lost, no other path, addresses kept", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24,fd00:1::/64");
  const probed = await mesh.client(0, { url, livenessIntervalMs: 50, livenessTimeoutMs: 2_000 });
  const unprobed = await mesh.client(0, { url, liveness: false });
  // Nothing comes in that could show that its path lives.
  const silent = await mesh.client(0, { url, liveness: false });
  const clients = [probed, unprobed, silent];
  const heard = clients.map((client) => healings(client));
  const pairs = clients.map((client) => addressPairs(client.connection));
  const streams = [probed, unprobed].flatMap(({ netns }, index) =>
    (pairs[index] ?? []).map((pair) =>
      startSteadyPackets({ netnsUrl: `file:///run/netns/${netns}`, addresses: () => pair, packetsPerSecond: 100 }),
    ),
  );
  let reports: readonly SteadyReport[] = [];
  try {
    await restartInTurn(mesh, clients.length);
  } finally {
    reports = await Promise.all(streams.map((stream) => stream.stop()));
  }
  assert.equal(reports.length, 4);
  t.diagnostic(reports.map(({ sent, lost }) => `${lost} lost of ${sent}`).join(", "));
  for (const { sent, lost, refused } of reports) {
    assert.ok(sent > 100);
    assert.equal(lost, 0, `of ${sent}: ${JSON.stringify(refused)}`);
  }
  for (const [index, hows] of heard.entries()) {
    assert.ok(
      hows.every((how) => how === "same" || how === "itself"),
      `client ${index + 1}: ${hows}`,
    );
    assert.ok(index === 0 || hows.length > 0, "no restart was noticed");
  }
  for (const [index, client] of clients.entries()) {
    assert.deepEqual(addressPairs(client.connection), pairs[index]);
    for (const pair of pairs[index] ?? []) {
      const netnsUrl = `file:///run/netns/${client.netns}`;
      const { signal } = new AbortController();
      const answered = async (): Promise<boolean> =>
        (await icmpEcho({ netnsUrl, ...pair, timeoutMs: 1_000, signal })) !== undefined;
      await until(`client ${index + 1}: an answer from ${pair.destination}`, answered, timeoutMs);
    }
  }
});

/** How it has healed, each time. */
function healings(connection: ClientConnection): string[] {
  const hows: string[] = [];
  void (async () => {
    for await (const change of connection.changes) if (change.kind === "healed") hows.push(change.how);
  })();
  return hows;
}

/** Each by kill -9 and by SIGTERM in turn; the next one when every hop knows all connections again. */
async function restartInTurn(mesh: ProcessMesh, connections: number): Promise<void> {
  const components = [mesh.registry, ...mesh.nodes.flatMap(({ nsmgr, forwarder }) => [nsmgr, forwarder])];
  for (let round = 0; round < restarts; round++) {
    const component = components[round % components.length];
    assert.ok(component);
    await component.kill(round % 2 === 0 ? "SIGKILL" : "SIGTERM");
    await component.start();
    const known = async (): Promise<boolean> => (await connectionsAtHops(mesh)).every((count) => count === connections);
    await until(`every hop to know all connections after restart ${round + 1}, of ${component.name}`, known, timeoutMs);
  }
}
