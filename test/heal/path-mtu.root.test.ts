/**
 * The underlay gets smaller while packets flow: all hops follow, and no large packet disappears for good. It gets larger again: all
 * hops follow, and no packet is lost.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { getLink, listLinks } from "../../sdk/linux/netlink/links.js";
import { findWireguardGo } from "../../sdk/linux/wireguard-go.js";
import { type Log, silentLog } from "../../sdk/telemetry/log.js";
import { until } from "../../sdk/testing/until.js";
import { functionsOf, registerChain, startWire } from "./chain.js";
import { healing } from "./listen.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";
import { startSteadyPackets } from "./steady-packets.js";
import { inNetns, setMtu } from "./underlay.js";

type Client = ClientConnection & { readonly netns: string };

const url = "kernel://icmp-responder/nsm-1";
const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 2_000 };
const overheadBytes = { 4: 54, 6: 74 } as const;
const timeoutMs = 30_000;
const noWireguard = findWireguardGo() === undefined ? "install wireguard-go" : false;

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
    await growsWithoutLoss(connection, endpoint.netns, 1500 - overheadBytes[tunnels], () => setSwitchMtu(mesh, 1500));
  });

  test(`rows 1.3, 1.24: IPv${tunnels} underlay, WireGuard: cut in the middle and as before again`, {
    skip: noWireguard,
  }, async (t) => {
    const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", tunnels, switched: true });
    const entry = NetworkService.fromPartial({ name: "vault", payload: "IP" });
    await mesh.dialer.serviceRegistry(mesh.nodes[0]?.url ?? "").register(entry, { signal: AbortSignal.timeout(10_000) });
    const endpoint = await mesh.endpoint(1, "nse-1", "vault", "172.16.1.0/24,fd00:1::/64");
    const connection = await mesh.client(0, { url: "kernel://vault/nsm-1", ...probe });
    const full = tunnels === 4 ? 1440 : 1420;
    await follows(connection, endpoint.netns, full);
    setSwitchMtu(mesh, 1400);
    const cut = tunnels === 4 ? 1328 : 1312;
    await follows(connection, endpoint.netns, cut);
    // each size that is filled up to another one
    for (let bytes = cut - 16; bytes <= cut; bytes++) await passes(connection, bytes);
    await growsWithoutLoss(connection, endpoint.netns, full, () => setSwitchMtu(mesh, 1500));
    for (let bytes = full - 16; bytes <= full; bytes++) await passes(connection, bytes);
  });
}

test("row 1.24: a node's own link is cut and is as before again", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  const endpoint = await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24,fd00:1::/64");
  const connection = await mesh.client(0, { url, ...probe });
  const host = mesh.hosts[0] ?? "";
  setMtu(host, "eth0", 1400);
  await follows(connection, endpoint.netns, 1400 - overheadBytes[4]);
  await growsWithoutLoss(connection, endpoint.netns, 1500 - overheadBytes[4], () => setMtu(host, "eth0", 1500));
});

test("row 1.24: a connection that asked for less than the path carries gets back what it asked for, and no more", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", switched: true });
  const endpoint = await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24,fd00:1::/64");
  const context = ConnectionContext.fromPartial({ MTU: 1390 });
  const connection = await mesh.client(0, { url, ...probe, context });
  await follows(connection, endpoint.netns, 1390);
  setSwitchMtu(mesh, 1400);
  await follows(connection, endpoint.netns, 1400 - overheadBytes[4]);
  await growsWithoutLoss(connection, endpoint.netns, 1390, () => setSwitchMtu(mesh, 1500));
});

test("row 1.24: the path carries less than IPv6 needs: IPv4 alone follows, with IPv6 it is told and refused, and heals by itself", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel", switched: true });
  const both = await mesh.endpoint(1, "nse-1", "icmp-responder", "172.16.1.0/24,fd00:1::/64");
  const four = await mesh.endpoint(1, "nse-4", "four", "172.16.4.0/24");
  const told: string[] = [];
  const log: Log = {
    ...silentLog,
    warn: (_message, fields) => told.push(String((fields?.["error"] as Error | undefined)?.message)),
  };
  const connection = await mesh.client(0, { url, ...probe, log });
  const [client4, other] = [await mesh.client(0, { url: "kernel://four/nsm-4", ...probe }), "kernel://icmp-responder/nsm-2"];
  setSwitchMtu(mesh, 1200);
  const least = 1200 - overheadBytes[4];
  await until("the MTU of IPv4 alone", () => mtuIn(client4.netns, "nsm-4") === least, timeoutMs);
  await until("its endpoint's", () => podMtus(four.netns).join() === String(least), timeoutMs);
  await passes(client4, least);
  const text = /IPv6 addresses, which need a link of 1280 bytes, and it would have 1146; raise the MTU/;
  await until("the client to be told", () => told.some((reason) => text.test(reason)), timeoutMs).catch((error: Error) =>
    assert.fail(`${error.message}: ${told.join("; ")}`),
  );
  const refused = mesh.client(0, { url: other, ...probe, connectTimeoutMs: 2_000 });
  await assert.rejects(refused, text);
  // What still fits passes: neither its addresses nor its link have been taken.
  await passes(connection, least);
  const healed = healing(connection);
  setSwitchMtu(mesh, 1500);
  await healed;
  await follows(connection, both.netns, 1500 - overheadBytes[4]);
});

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
  const full = 1500 - overheadBytes[4];
  await growsWithoutLoss(connection, endpoint.netns, full, () => setSwitchMtu(mesh, 1500), ["client"]);
  assert.deepEqual(podMtus(wire.netns), [full, full]);
});

/**
 * Both ends send packets as large as their interfaces allow while the underlay gets larger.
 * @param senders  between the segments of a chain the endpoint's side is larger for the moment that the answer is on its way
 */
async function growsWithoutLoss(
  connection: Client,
  endpointNetns: string,
  expected: number,
  restore: () => void,
  senders: readonly ("client" | "endpoint")[] = ["client", "endpoint"],
): Promise<void> {
  const pairs = addressPairs(connection.connection);
  const streams = pairs.flatMap(({ source, destination }) =>
    senders.map((sender) =>
      startSteadyPackets({
        netnsUrl: `file:///run/netns/${sender === "client" ? connection.netns : endpointNetns}`,
        packetsPerSecond: 50,
        packetBytes: () => (sender === "client" ? mtuIn(connection.netns, "nsm-1") : podMtus(endpointNetns)[0]) ?? 0,
        addresses: () => (sender === "client" ? { source, destination } : { source: destination, destination: source }),
      }),
    ),
  );
  await until("packets before", () => streams.every((stream) => stream.sent() > 10));
  restore();
  await follows(connection, endpointNetns, expected);
  const grown = streams.map((stream) => stream.sent());
  await until("packets afterwards", () => streams.every((stream, index) => stream.sent() > (grown[index] ?? 0) + 20));
  for (const stream of streams) {
    const { sent, lost, lostNumbers, refused } = await stream.stop();
    assert.equal(lost, 0, `of ${sent} full packets: ${lostNumbers.join(" ")} ${JSON.stringify(refused)}`);
  }
}

/** Both ends and the client have that MTU, and full packets pass in both families. */
async function follows(connection: Client, endpointNetns: string, expected: number): Promise<void> {
  await until(`${expected} bytes at the client's interface`, () => mtuIn(connection.netns, "nsm-1") === expected, timeoutMs);
  await until("the endpoint's interface", () => podMtus(endpointNetns).join() === String(expected), timeoutMs);
  await until("the client is told", () => connection.context.MTU === expected, timeoutMs);
  await passes(connection, expected);
}

/** A packet of that size, with its IP header, is answered in both families. */
async function passes(connection: Client, bytes: number): Promise<void> {
  for (const { source, destination } of addressPairs(connection.connection)) {
    const payloadBytes = bytes - (destination.includes(":") ? 48 : 28);
    const netnsUrl = `file:///run/netns/${connection.netns}`;
    const signal = new AbortController().signal;
    const answer = await icmpEcho({ netnsUrl, source, destination, payloadBytes, unfragmented: true, timeoutMs: 3_000, signal });
    assert.ok(answer, `a packet of ${bytes} bytes to ${destination}`);
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
