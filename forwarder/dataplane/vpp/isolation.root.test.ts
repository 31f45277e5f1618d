import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import * as libc from "../../../sdk/linux/libc.js";
import { parseAddress, parsePrefix, socketAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { listLinks } from "../../../sdk/linux/netlink/links.js";
import { setNeighbor } from "../../../sdk/linux/netlink/neighbors.js";
import { addRoute, mainTable } from "../../../sdk/linux/netlink/routes.js";
import { withNetns } from "../../../sdk/linux/netns.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { until } from "../../../sdk/testing/until.js";
import { findRealVpp } from "../../vpp/testing/real-vpp.js";
import {
  crossConnect,
  linkIn,
  type Namespace,
  namespace,
  noSignal,
  numbered,
  pings,
  stateFolder,
  twoNodes,
} from "../compliance-world.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createVppDataPlane } from "./vpp.js";

const { program, skip } = findRealVpp(process.env);
const udpPort = 7_777;

/** A socket of a program on the node. */
function listen({ netns }: Namespace, address: string): number {
  return withNetns(netns, () => {
    const socket = libc.openSocket(libc.AF_INET, libc.SOCK_DGRAM, 0, "open a socket");
    libc.bindSocket(socket, socketAddress(parseAddress(address), udpPort), "bind it");
    return socket;
  });
}

function send({ netns }: Namespace, address: string): void {
  withNetns(netns, () => {
    const socket = libc.openSocket(libc.AF_INET, libc.SOCK_DGRAM, 0, "open a socket");
    libc.sendTo(socket, Buffer.from("hello"), socketAddress(parseAddress(address), udpPort), "send");
    libc.closeDescriptor(socket);
  });
}

test("a workload that addresses the node through its patch interface reaches nothing of it", { skip }, async (t) => {
  const { one, two, address } = twoNodes(t);
  for (const which of ["all", "default"])
    withNetns(one.netns, () => writeFileSync(`/proc/sys/net/ipv4/conf/${which}/rp_filter`, "0"));
  const plane = withNetns(one.netns, () => {
    const stateDir = stateFolder(t);
    const beneath = createKernelDataPlane({ stateDir, log: silentLog });
    return createVppDataPlane({ stateDir, log: silentLog, beneath, command: [program], ephemeral: true });
  });
  t.after(() => plane.close());
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const ports = numbered(client, endpoint);
  const onLinkPrefixes = [...ports.client.onLinkPrefixes, `${address(1)}/32`];
  await plane.ensure(crossConnect("c1", { ...ports, client: { ...ports.client, onLinkPrefixes } }), noSignal);
  const links = listLinks(one.socket);
  const [patch, underlay] = [links.find(({ name }) => name.startsWith("wvc")), links.find(({ name }) => name === "underlay")];
  assert.ok(patch !== undefined && underlay !== undefined);
  // A way back, so that only the patch itself can refuse.
  const prefix = parsePrefix("172.16.0.1/32");
  const route = { prefix, gateway: undefined, linkIndex: underlay.index, table: mainTable, protocol: 4, metric: 0 };
  one.socket.perform([addRoute(route, "exclusive")]);
  const heard = listen(one, address(1));
  t.after(() => libc.closeDescriptor(heard));
  send(two, address(1));
  await until("what comes by another way", () => libc.receive(heard, Buffer.alloc(64), libc.MSG_DONTWAIT, "receive"));
  const _index = linkIn(client, "nsm-1")?.index ?? 0;
  client.socket.perform([setNeighbor(linkIn(client, "nsm-1")?.index ?? 0, parseAddress(address(1)), patch.macAddress)]);
  send(client, address(1));
  assert.ok(await pings(client, "172.16.0.0"), "what was sent before has arrived by now");
  assert.equal(libc.receive(heard, Buffer.alloc(64), libc.MSG_DONTWAIT, "receive"), undefined);
});
