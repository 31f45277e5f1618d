/** The network below a local mesh: one namespace with a bridge, one per node, a veth from each to the bridge. */
import { readFileSync, writeFileSync } from "node:fs";
import { addAddress } from "../../sdk/linux/netlink/addresses.js";
import { parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createPlainLink, createVeth, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { createNamedNetns, type NetnsHandle, openNetns, withNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import { bridgeName, type NodePlan, registryPlan, underlayNetns } from "./plan.js";

/** Largest packet of the underlay, as on an ordinary network. */
export const underlayMtuBytes = 1500;
const nodeLink = "eth0";
const loopback = 1;

/**
 * Makes the namespaces and joins them.
 * @throws PERMISSION_DENIED without the right to make namespaces, with the remedy
 */
export async function buildUnderlay(nodes: readonly NodePlan[]): Promise<void> {
  const handles: NetnsHandle[] = [];
  const sockets: NetlinkSocket[] = [];
  const enter = (name: string): { netns: NetnsHandle; netlink: NetlinkSocket } => {
    makeNetns(name);
    const netns = openNetns(name);
    handles.push(netns);
    const netlink = openNetlinkSocket(netns);
    sockets.push(netlink);
    netlink.perform([setLink(loopback, { up: true })]);
    return { netns, netlink };
  };
  try {
    const hub = enter(underlayNetns);
    withNetns(hub.netns, quietBridge);
    hub.netlink.perform([createPlainLink(bridgeName, "bridge")]);
    const bridge = linkIndex(hub.netlink, bridgeName);
    addAddresses(hub.netlink, bridge, registryPlan);
    hub.netlink.perform([setLink(bridge, { up: true })]);
    for (const node of nodes) {
      const { netns, netlink } = enter(node.netns);
      const port = { netns: hub.netns, name: node.name, macAddress: randomMac(), mtuBytes: underlayMtuBytes };
      hub.netlink.perform([createVeth({ netns, name: nodeLink, macAddress: randomMac(), mtuBytes: underlayMtuBytes }, port)]);
      hub.netlink.perform([setLink(linkIndex(hub.netlink, node.name), { masterIndex: bridge, up: true })]);
      const own = linkIndex(netlink, nodeLink);
      addAddresses(netlink, own, node);
      netlink.perform([setLink(own, { up: true })]);
    }
  } finally {
    for (const socket of sockets) socket.close();
    for (const handle of handles) handle.close();
  }
}

/** A pod's namespace: its own loopback is up, as a container runtime leaves it; everything else the mesh makes. */
export function makePodNetns(name: string): void {
  createNamedNetns(name);
  const netns = openNetns(name);
  try {
    const netlink = openNetlinkSocket(netns);
    netlink.perform([setLink(loopback, { up: true })]);
    netlink.close();
  } finally {
    netns.close();
  }
}

/** A firewall of the host must not see the frames of our bridge (br_netfilter hands them to iptables where it is on). */
function quietBridge(): void {
  for (const key of ["iptables", "ip6tables", "arptables"]) {
    const path = `/proc/sys/net/bridge/bridge-nf-call-${key}`;
    try {
      if (readFileSync(path, "utf8").trim() !== "0") writeFileSync(path, "0");
    } catch {
      // br_netfilter is not loaded, which is as good
    }
  }
}

function makeNetns(name: string): void {
  try {
    createNamedNetns(name);
  } catch (error) {
    const { errno } = error as { errno?: string };
    if (errno !== "EPERM" && (error as { code?: unknown }).code !== "EACCES") throw error;
    throw statusError(
      Code.PERMISSION_DENIED,
      "network namespaces cannot be made by this user; run it with sudo, or run `weft demo`, which needs no root",
      error,
    );
  }
}

function linkIndex(netlink: NetlinkSocket, name: string): number {
  const link = getLink(netlink, name);
  if (link === undefined) throw statusError(Code.INTERNAL, `link ${name} vanished while the underlay was built`);
  return link.index;
}

function addAddresses(netlink: NetlinkSocket, index: number, owner: { address4: string; address6: string }): void {
  netlink.perform([
    addAddress(index, parsePrefix(`${owner.address4}/15`)),
    addAddress(index, parsePrefix(`${owner.address6}/64`)),
  ]);
}
