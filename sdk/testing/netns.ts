/** Network namespaces for tests: made for one test, wired by veth pairs, gone with it. */

import { addAddress } from "../linux/netlink/addresses.js";
import { parsePrefix } from "../linux/netlink/ip-address.js";
import { createVeth, getLink, setLink } from "../linux/netlink/links.js";
import { randomMac } from "../linux/netlink/mac-address.js";
import { openNetlinkSocket } from "../linux/netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, type NetnsHandle, openNetns, openNewNetns } from "../linux/netns.js";
import type { CleanUp } from "./cleanup.js";

export interface TestNetns extends NetnsHandle {
  /** Under /run/netns. */
  readonly name: string;
  readonly url: string;
}

let count = 0;

/** A new namespace with its loopback up; removed when the test ends. */
export function temporaryNetns(t: CleanUp, purpose: string): TestNetns {
  const name = `wt-${process.pid}-${++count}-${purpose}`;
  createNamedNetns(name);
  t.after(() => deleteNamedNetns(name));
  const handle = openNetns(name);
  t.after(() => handle.close());
  bringUp(handle, "lo");
  return { ...handle, name, url: `file:///run/netns/${name}` };
}

/** One that no path leads to but a descriptor of this process, which is all that keeps it: as a pod seen from a container. */
export function namelessNetns(t: CleanUp): TestNetns {
  const handle = openNewNetns();
  t.after(() => handle.close());
  bringUp(handle, "lo");
  return { ...handle, name: "", url: `file:///proc/${process.pid}/fd/${handle.fd}` };
}

/** One end of a pair: an interface in a namespace, with addresses (CIDR). */
export interface WireEnd {
  readonly netns: NetnsHandle;
  readonly name: string;
  readonly addresses?: readonly string[];
  readonly macAddress?: string;
}

/** Joins two namespaces by a veth pair that is up at both ends. */
export function joinNetns(one: WireEnd, other: WireEnd): void {
  const socket = openNetlinkSocket(one.netns);
  const end = ({ netns, name, macAddress = randomMac() }: WireEnd) => ({ netns, name, mtuBytes: 1500, macAddress });
  socket.perform([createVeth(end(one), end(other))]);
  socket.close();
  for (const { netns, name, addresses = [] } of [one, other]) bringUp(netns, name, addresses);
}

function bringUp(netns: NetnsHandle, name: string, addresses: readonly string[] = []): void {
  const socket = openNetlinkSocket(netns);
  const index = getLink(socket, name)?.index ?? 0;
  socket.perform([setLink(index, { up: true }), ...addresses.map((address) => addAddress(index, parsePrefix(address)))]);
  socket.close();
}
