/** The network between the nodes of a test mesh. */
import { addAddress } from "../../sdk/linux/netlink/addresses.js";
import { parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createPlainLink, createVeth, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";

/** Of a node, counted from 0. */
export function tunnelAddress(node: number, family: 4 | 6): string {
  return family === 4 ? `198.18.77.${node + 1}` : `fd57:77::${node + 1}`;
}

export function setUpLoopback(netns: string): void {
  inNetns(netns, (socket) => socket.perform([setLink(1, { up: true })]));
}

/**
 * Each node has eth0 with an underlay address of each family: two nodes are joined by one cable, a single node has both its ends.
 * @param switchNetns  where the cables end instead, in the ports of a bridge; empty: there is none
 */
export function giveUnderlay(hosts: readonly string[], switchNetns: string): void {
  if (switchNetns === "") layCable(hosts);
  else {
    inNetns(switchNetns, (socket) => {
      socket.perform([createPlainLink("br0", "bridge")]);
      socket.perform([setLink(indexOf(socket, "br0"), { up: true })]);
    });
    for (const [index, netns] of hosts.entries()) {
      const port = `port${index + 1}`;
      joinByVeth([netns, "eth0"], [switchNetns, port]);
      inNetns(switchNetns, (socket) =>
        socket.perform([setLink(indexOf(socket, port), { masterIndex: indexOf(socket, "br0"), up: true })]),
      );
    }
  }
  for (const [index, netns] of hosts.entries()) {
    inNetns(netns, (socket) => {
      const link = indexOf(socket, "eth0");
      const addresses = [`${tunnelAddress(index, 4)}/24`, `${tunnelAddress(index, 6)}/64`];
      socket.perform([...addresses.map((text) => addAddress(link, parsePrefix(text))), setLink(link, { up: true })]);
      const peer = getLink(socket, "eth0-peer");
      if (peer !== undefined) socket.perform([setLink(peer.index, { up: true })]);
    });
  }
}

/** Equivalent: `ip -n NETNS link set NAME mtu N`. */
export function setMtu(netns: string, name: string, mtuBytes: number): void {
  inNetns(netns, (socket) => socket.perform([setLink(indexOf(socket, name), { mtuBytes })]));
}

export function inNetns<T>(netns: string, run: (socket: NetlinkSocket) => T): T {
  const handle = openNetns(netns);
  const socket = openNetlinkSocket(handle);
  try {
    return run(socket);
  } finally {
    socket.close();
    handle.close();
  }
}

function layCable(hosts: readonly string[]): void {
  const [one = "", other = one] = hosts;
  joinByVeth([one, "eth0"], [other, one === other ? "eth0-peer" : "eth0"]);
}

function joinByVeth(...ends: readonly [readonly [string, string], readonly [string, string]]): void {
  const [one, other] = ends.map(([netns, name]) => ({ netns: openNetns(netns), name, macAddress: randomMac(), mtuBytes: 1_500 }));
  if (one === undefined || other === undefined) return;
  inNetns(ends[0][0], (socket) => socket.perform([createVeth(one, other)]));
  for (const { netns } of [one, other]) netns.close();
}

function indexOf(socket: NetlinkSocket, name: string): number {
  const link = getLink(socket, name);
  if (link === undefined) throw new Error(`there is no interface ${name}`);
  return link.index;
}
