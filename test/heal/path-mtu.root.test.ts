/** The underlay gets smaller while packets flow: all hops follow, and no large packet disappears for good. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { getLink, listLinks } from "../../sdk/linux/netlink/links.js";
import { until } from "../../sdk/testing/until.js";
import { functionsOf, registerChain, startWire } from "./chain.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";
import { inNetns, setMtu } from "./underlay.js";

type Client = ClientConnection & { readonly netns: string };

const url = "kernel://icmp-responder/nsm-1";
const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 2_000 };
const overheadBytes = { 4: 54, 6: 74 } as const;
const timeoutMs = 30_000;

for (const tunnels of [4, 6] as const) {
  test(`row 1.24: IPv${tunnels} underlay: a node's own link is cut: known from the kernel, without waiting for a measurement`, async (t) => {
    const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", tunnels, pathMtuInterval: "1h" });
    const endpoint = await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24,fd00:1::/64");
    const connection = await mesh.client(0, { url, ...probe });
    assert.equal(mtuIn(connection.netns, "nsm-1"), 1500 - overheadBytes[tunnels]);
    assert.equal(connection.context.MTU, 1500 - overheadBytes[tunnels]);
    for (const underlayBytes of [1400, 1360]) {
      setMtu(mesh.hosts[1] ?? "", "eth0", underlayBytes);
      await follows(connection, endpoint.netns, underlayBytes - overheadBytes[tunnels]);
    }
  });

  test(`row 1.24: IPv${tunnels} underlay: cut in the middle, where no node sees a link change: measured`, async (t) => {
    const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", tunnels, switched: true });
    const endpoint = await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24,fd00:1::/64");
    const connection = await mesh.client(0, { url, ...probe });
    for (const underlayBytes of [1460, 1400]) {
      setSwitchMtu(mesh, underlayBytes);
      await follows(connection, endpoint.netns, underlayBytes - overheadBytes[tunnels]);
    }
  });
}

test("rows 1.24, 2.8: a chain over two nodes and back: the cut reaches the client, the function and the endpoint", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", switched: true });
  await registerChain(mesh);
  const wire = await startWire(t, mesh, 1);
  const endpoint = await mesh.endpoint(0, "nse-1", "chain", "172.16.1.0/24,fd00:1::/64", { app: "nse" });
  const connection = await mesh.client(0, { url: "kernel://chain/nsm-1", ...probe });
  assert.deepEqual(functionsOf(connection), ["wire-1", "nse-1"]);
  for (const underlayBytes of [1460, 1380]) {
    setSwitchMtu(mesh, underlayBytes);
    const expected = underlayBytes - overheadBytes[4];
    await until("the function's interfaces", () => podMtus(wire.netns).join() === `${expected},${expected}`, timeoutMs).catch(
      (error: Error) => assert.fail(`${error.message}: ${podMtus(wire.netns).join()}`),
    );
    await follows(connection, endpoint.netns, expected);
  }
});

/** Both ends and the client have that MTU, and full packets pass in both families. */
async function follows(connection: Client, endpointNetns: string, expected: number): Promise<void> {
  await until(`${expected} bytes at the client's interface`, () => mtuIn(connection.netns, "nsm-1") === expected, timeoutMs);
  await until("the endpoint's interface", () => podMtus(endpointNetns).join() === String(expected), timeoutMs);
  await until("the client is told", () => connection.context.MTU === expected, timeoutMs);
  for (const { source, destination } of addressPairs(connection.connection)) {
    const payloadBytes = expected - (destination.includes(":") ? 48 : 28);
    const netnsUrl = `file:///run/netns/${connection.netns}`;
    const signal = new AbortController().signal;
    const answer = await icmpEcho({ netnsUrl, source, destination, payloadBytes, unfragmented: true, timeoutMs: 3_000, signal });
    assert.ok(answer, `a packet of ${expected} bytes to ${destination}`);
  }
}

/** The ports drop what is larger than they are without a word, as a misconfigured switch does. */
function setSwitchMtu(mesh: ProcessMesh, mtuBytes: number): void {
  for (const port of ["port1", "port2"]) setMtu(mesh.switchNetns, port, mtuBytes);
}

function mtuIn(netns: string, name: string): number | undefined {
  return inNetns(netns, (socket) => getLink(socket, name)?.mtuBytes);
}

/** Of the connections' interfaces in a pod. */
function podMtus(netns: string): readonly number[] {
  const links = inNetns(netns, (socket) => listLinks(socket));
  return links.filter(({ kind, name }) => kind !== "bridge" && name !== "lo").map(({ mtuBytes }) => mtuBytes ?? 0);
}
