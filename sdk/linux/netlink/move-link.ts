/** Moves an interface into another network namespace under a new name (RTM_NEWLINK, linux/if_link.h). */
import type { NetnsHandle } from "../netns.js";
import * as codec from "./codec.js";
import type { NetlinkRequest } from "./socket.js";

const RTM_NEWLINK = 16;
const IFLA_IFNAME = 3;
const IFLA_NET_NS_FD = 28;
const headerLength = 16;

/** Equivalent: `ip link set dev INDEX netns NS name NAME`. It arrives down and without addresses. */
export function moveLink(index: number, netns: Pick<NetnsHandle, "fd">, name: string): NetlinkRequest {
  const header = Buffer.alloc(headerLength);
  header.writeInt32LE(index, 4);
  return {
    verb: `move link ${index} into another namespace as ${name}`,
    type: RTM_NEWLINK,
    flags: 0,
    body: Buffer.concat([header, codec.u32(IFLA_NET_NS_FD, netns.fd), codec.text(IFLA_IFNAME, name)]),
  };
}
