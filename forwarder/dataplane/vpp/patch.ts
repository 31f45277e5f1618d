/**
 * Patch interfaces: the node's end of a veth pair whose other end is a workload's interface. VPP reads them by AF_PACKET in the
 * forwarder's own network namespace, so the node's IP stack must not take part: a frame that a workload addresses to the node is
 * VPP's alone.
 */
import { existsSync, writeFileSync } from "node:fs";
import { createPlainLink, deleteLink, getLink, setLink } from "../../../sdk/linux/netlink/links.js";
import { parseMac } from "../../../sdk/linux/netlink/mac-address.js";
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { type NetnsHandle, openNetns, withNetns } from "../../../sdk/linux/netns.js";
import { switchOffChecksumOffload } from "../../../sdk/linux/offload.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { KernelPort } from "../dataplane.js";

/**
 * Behind the bridge, which is down and drops every frame after VPP has had its copy, what would be left if the kernel has no bridge:
 * no route leads back through a patch, so the strict check of sources (rp_filter 1) refuses IPv4 packets; those in a broadcast frame
 * are dropped; arp_ignore 8 answers for no address; IPv6 is off.
 */
const deaf: readonly (readonly [string, string])[] = [
  ["ipv6/conf/NAME/disable_ipv6", "1"],
  ["ipv4/conf/NAME/rp_filter", "1"],
  ["ipv4/conf/NAME/drop_unicast_in_l2_multicast", "1"],
  ["ipv4/conf/NAME/arp_ignore", "8"],
  ["ipv4/conf/NAME/forwarding", "0"],
];

export interface PatchBay {
  /** Index of a patch in the forwarder's namespace, made deaf. @throws NOT_FOUND */
  ready(name: string): number;
  /** Takes the bridge away; patches that are still there stay deaf by their own settings. */
  remove(): void;
}

/** @param bridge  name of the bridge that is made for the patches */
export function createPatchBay(home: NetnsHandle, own: NetlinkSocket, bridge: string, log: Log): PatchBay {
  const known = new Map<string, number>();
  const bridgeIndex = (): number | undefined => {
    const found = getLink(own, bridge, "without-statistics")?.index;
    if (found !== undefined) return found;
    try {
      own.perform([createPlainLink(bridge, "bridge")]);
    } catch (error) {
      log.warn("this kernel has no bridge; patch interfaces of VPP are kept apart by their settings alone", { error });
    }
    return getLink(own, bridge, "without-statistics")?.index;
  };
  return {
    ready(name) {
      const link = getLink(own, name, "without-statistics");
      if (link === undefined) throw statusError(Code.NOT_FOUND, `patch interface ${name} has vanished; ask again`);
      if (known.get(name) === link.index) return link.index;
      withNetns(home, () => deafen(name));
      const masterIndex = bridgeIndex();
      if (masterIndex !== undefined) own.perform([setLink(link.index, { masterIndex })]);
      known.set(name, link.index);
      return link.index;
    },
    remove() {
      const found = getLink(own, bridge, "without-statistics");
      if (found !== undefined) own.perform([deleteLink(found.index)]);
    },
  };
}

function deafen(name: string): void {
  for (const [template, value] of deaf) {
    const path = `/proc/sys/net/${template.replace("NAME", name)}`;
    if (!existsSync(path)) continue;
    try {
      writeFileSync(path, value);
    } catch (error) {
      if (!hasErrno(error, "EROFS", "EACCES", "EPERM")) throw error;
    }
  }
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
