/**
 * Patch interfaces: the node's end of a veth pair whose other end is a workload's interface. VPP reads them by AF_PACKET in the
 * forwarder's own network namespace, so the node's IP stack must not take part: a frame that a workload addresses to the node is
 * VPP's alone.
 */
import { existsSync, writeFileSync } from "node:fs";
import { getLink } from "../../../sdk/linux/netlink/links.js";
import { parseMac } from "../../../sdk/linux/netlink/mac-address.js";
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { type NetnsHandle, openNetns, withNetns } from "../../../sdk/linux/netns.js";
import { switchOffChecksumOffload } from "../../../sdk/linux/offload.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { KernelPort } from "../dataplane.js";

/**
 * No route leads back through a patch, so the strict check of sources (rp_filter 1) refuses every IPv4 packet that comes in;
 * arp_ignore 8 answers for no address; IPv6 is off.
 */
const deaf: readonly (readonly [string, string])[] = [
  ["ipv6/conf/NAME/disable_ipv6", "1"],
  ["ipv4/conf/NAME/rp_filter", "1"],
  ["ipv4/conf/NAME/arp_ignore", "8"],
  ["ipv4/conf/NAME/forwarding", "0"],
];

/** Index of a patch in the forwarder's namespace, made deaf. @throws NOT_FOUND */
export function readyPatch(home: NetnsHandle, own: NetlinkSocket, name: string): number {
  const link = getLink(own, name, "without-statistics");
  if (link === undefined) throw statusError(Code.NOT_FOUND, `patch interface ${name} has vanished; ask again`);
  withNetns(home, () => {
    for (const [template, value] of deaf) {
      const path = `/proc/sys/net/${template.replace("NAME", name)}`;
      if (!existsSync(path)) continue;
      try {
        writeFileSync(path, value);
      } catch (error) {
        if (!hasErrno(error, "EROFS", "EACCES", "EPERM")) throw error;
      }
    }
  });
  return link.index;
}

/** The hardware address of a workload's interface, of which packets now leave whole: VPP reads them as they are. */
export function readyWorkload({
  netnsUrl,
  interfaceName,
}: Pick<KernelPort, "netnsUrl" | "interfaceName">): Uint8Array | undefined {
  const netns = openNetns(netnsUrl);
  try {
    withNetns(netns, () => switchOffChecksumOffload(interfaceName));
    const socket = openNetlinkSocket(netns);
    try {
      const address = getLink(socket, interfaceName, "without-statistics")?.macAddress;
      return address ? parseMac(address) : undefined;
    } finally {
      socket.close();
    }
  } finally {
    netns.close();
  }
}
