/**
 * The network namespace in which the packet core meets the kernel: patch interfaces lie here, with no address and no IPv6,
 * so that no frame of a workload ever reaches the IP stack of the node.
 */
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { getLink } from "../../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, openNetns, withNetns } from "../../../sdk/linux/netns.js";
import { netnsFolder } from "../../../sdk/linux/netns-url.js";
import { switchOffChecksumOffload } from "../../../sdk/linux/offload.js";
import { Code, statusError, toStatusError } from "../../../sdk/status.js";

export interface PatchRoom {
  /** Makes it when it is not there. @throws FAILED_PRECONDITION it may not be made */
  url(): string;
  /** Path and interface index of a patch, for the core. @throws NOT_FOUND */
  find(interfaceName: string): { readonly netnsPath: string; readonly index: number; close(): void };
  /** Takes it away; what is in it ends. */
  remove(): void;
}

/** Of the forwarder with this state folder; `weft audit` finds it by that. */
export function patchRoomName(stateDir: string): string {
  return `weft-fast-${createHash("sha256").update(stateDir).digest("hex").slice(0, 10)}`;
}

export function createPatchRoom(name: string): PatchRoom {
  const make = (): void => {
    createNamedNetns(name);
    const netns = openNetns(name);
    try {
      withNetns(netns, () => {
        for (const which of ["default", "all"]) {
          const path = `/proc/sys/net/ipv6/conf/${which}/disable_ipv6`;
          if (existsSync(path)) writeFileSync(path, "1");
        }
      });
    } finally {
      netns.close();
    }
  };
  return {
    url() {
      if (existsSync(`${netnsFolder}/${name}`)) return name;
      try {
        make();
      } catch (error) {
        throw statusError(
          Code.FAILED_PRECONDITION,
          `joining memif with interfaces or tunnels of the kernel needs a network namespace of its own, and ${toStatusError(error).details}; run the forwarder as root`,
          error,
        );
      }
      return name;
    },
    find(interfaceName) {
      const netns = openNetns(name);
      const socket = openNetlinkSocket(netns);
      const link = getLink(socket, interfaceName, "without-statistics");
      socket.close();
      if (link === undefined) {
        netns.close();
        throw statusError(Code.NOT_FOUND, `patch interface ${interfaceName} has vanished; ask again`);
      }
      return { netnsPath: `/proc/${process.pid}/fd/${netns.fd}`, index: link.index, close: netns.close };
    },
    remove() {
      if (existsSync(`${netnsFolder}/${name}`)) deleteNamedNetns(name);
    },
  };
}

/**
 * The workload's interface of a part: its packets must leave with their checksums made and cut to size, because the core
 * reads them as they are. The result is its hardware address; undefined: it has none.
 */
export function prepareWorkloadLink(netnsUrl: string, interfaceName: string): string | undefined {
  const netns = openNetns(netnsUrl);
  try {
    withNetns(netns, () => switchOffChecksumOffload(interfaceName));
    return macOf(netns, interfaceName);
  } finally {
    netns.close();
  }
}

function macOf(netns: Parameters<typeof openNetlinkSocket>[0], interfaceName: string): string | undefined {
  const socket = openNetlinkSocket(netns);
  try {
    return getLink(socket, interfaceName, "without-statistics")?.macAddress || undefined;
  } finally {
    socket.close();
  }
}
