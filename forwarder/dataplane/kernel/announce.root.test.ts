/** An interface is made again with another hardware address: who has its addresses hears of it at once, not after a timeout. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { listNeighbors } from "../../../sdk/linux/netlink/neighbors.js";
import { openCapture } from "../../../sdk/linux/packet-capture.js";
import { until } from "../../../sdk/testing/until.js";
import { crossConnect, linkIn, type Namespace, namespace, noSignal, numbered, pings, twoNodes } from "../compliance-world.js";
import type { KernelPort } from "../dataplane.js";
import { planeIn } from "./plane-in.js";

const [clientV4, clientV6] = ["172.16.0.1", "fd16:0::1"];

test("row 7.3: the far end of a tunnel replaces its neighbour entries, IPv4 and IPv6, without a packet of the workload", async (t) => {
  const { one, two, address } = twoNodes(t);
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const [near, far] = [planeIn(t, one), planeIn(t, two)];
  const ports = numbered(client, endpoint);
  const vxlan = { kind: "vxlan", vni: 77, udpPort: 4789 } as const;
  const there = { ...vxlan, localAddress: address(1), remoteAddress: address(2) };
  const back = { ...vxlan, localAddress: address(2), remoteAddress: address(1) };
  const withMac = (macAddress: string): KernelPort => ({ ...ports.client, macAddress });
  await far.ensure(crossConnect("far", { client: back, endpoint: ports.endpoint }), noSignal);
  await near.ensure(crossConnect("near", { client: withMac("02:00:00:00:00:01"), endpoint: there }), noSignal);
  assert.ok(await pings(endpoint, clientV4));
  assert.ok(await pings(endpoint, clientV6));
  assert.deepEqual(known(endpoint), ["02:00:00:00:00:01", "02:00:00:00:00:01"]);

  const capture = openCapture(endpoint.netns, "nse-1");
  await near.remove("near", noSignal);
  await near.ensure(crossConnect("near", { client: withMac("02:00:00:00:00:02"), endpoint: there }), noSignal);
  await until("both entries", () => known(endpoint).join() === "02:00:00:00:00:02,02:00:00:00:00:02");
  const frames = capture
    .frames()
    .filter(({ outgoing, bytes }) => !outgoing && bytes.subarray(6, 12).toString("hex") === "020000000002");
  capture.close();
  assert.ok(
    frames.some(({ bytes }) => bytes.readUInt16BE(12) === 0x0806 && bytes.subarray(28, 32).equals(bytes.subarray(38, 42))),
  );
  assert.ok(frames.some(({ bytes }) => bytes.readUInt16BE(12) === 0x86dd && bytes[54] === 136 && bytes[58] === 0x20));
});

test("row 7.15: a connection that is made again has the hardware address that it had, and a mark of its ledger", async (t) => {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const plane = planeIn(t, client);
  await plane.ensure(crossConnect("c1", numbered(client, endpoint)), noSignal);
  const before = [linkIn(client, "nsm-1"), linkIn(endpoint, "nse-1")];
  await plane.remove("c1", noSignal);
  await plane.ensure(crossConnect("c1", numbered(client, endpoint)), noSignal);
  const after = [linkIn(client, "nsm-1"), linkIn(endpoint, "nse-1")];
  for (const [index, link] of after.entries()) {
    assert.equal(link?.macAddress, before[index]?.macAddress);
    assert.notEqual(link?.index, before[index]?.index);
    assert.equal((link?.group ?? 0) >>> 24, 0x57);
  }
  assert.notEqual(after[0]?.macAddress, after[1]?.macAddress);
});

/** The hardware addresses that it holds of the client, by family. */
function known(endpoint: Namespace): string[] {
  const index = linkIn(endpoint, "nse-1")?.index ?? 0;
  const neighbors = listNeighbors(endpoint.socket, index);
  return [clientV4, "fd16::1"].map((text) => neighbors.find((each) => formatAddress(each.address) === text)?.macAddress ?? "");
}
