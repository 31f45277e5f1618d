/**
 * A network namespace by the number under which another one knows it (netlink/namespace-ids.ts). The number survives the
 * process that gave it and holds no reference, so it leads to a namespace that no path leads to, for as long as it lives.
 *
 * The kernel has no call for it. It moves an interface into a namespace by number, and tells the namespace of a TUN interface
 * by its descriptor (TUNGETDEVNETNS, linux/if_tun.h, since Linux 5.2); so an interface is sent ahead. About 40 ms.
 */
import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, statSync } from "node:fs";
import { Code, statusError } from "../status.js";
import * as libc from "./libc.js";
import * as codec from "./netlink/codec.js";
import { decodeLink, getLink, type Link } from "./netlink/links.js";
import type { NetlinkRequest, NetlinkSocket } from "./netlink/socket.js";
import { type NetnsHandle, withNetns } from "./netns.js";
import { hasErrno } from "./system-error.js";

const device = "/dev/net/tun";
const TUNSETIFF = 0x400454ca;
const TUNGETDEVNETNS = 0x54e3;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const IFLA_IFNAME = 3;
const IFLA_TARGET_NETNSID = 46;
const nameBytes = 16;
const headerBytes = 16;

/**
 * @param home  the namespace whose numbers they are
 * @param own  a routing socket in it
 * @returns undefined: no namespace has that number any more
 * @throws FAILED_PRECONDITION this machine, or this process, has no TUN interfaces; SystemError
 */
export function openNetnsByNumber(
  home: Pick<NetnsHandle, "fd" | "ino">,
  own: NetlinkSocket,
  number: number,
): NetnsHandle | undefined {
  // Every namespace has one. Asking costs nothing, and most of those that cannot be opened have ended.
  if (getLinkByNumber(own, number, "lo") === undefined) return undefined;
  let tun: number | undefined;
  try {
    tun = withNetns(home, () => openSync(device, constants.O_RDWR));
    const request = Buffer.alloc(40); // struct ifreq
    // Somebody else may look into the same namespace at the same time.
    request.write(`weft${randomBytes(4).toString("hex")}`, "latin1");
    request.writeUInt16LE(IFF_TUN | IFF_NO_PI, nameBytes);
    libc.ioctl(tun, TUNSETIFF, request, "make an interface to look with");
    const name = request.toString("latin1", 0, nameBytes).split("\0")[0] ?? "";
    const index = getLink(own, name, "without-statistics")?.index ?? 0;
    own.perform([moveByNumber(index, number)]);
    return handleOf(libc.ioctl(tun, TUNGETDEVNETNS, null, `open network namespace number ${number}`));
  } catch (error) {
    if (getLinkByNumber(own, number, "lo") === undefined) return undefined;
    if (!hasErrno(error, "ENOENT", "ENODEV", "EACCES", "EPERM", "ENXIO")) throw error;
    throw statusError(
      Code.FAILED_PRECONDITION,
      `network namespace number ${number}: no path leads to it, and to find it by number takes ${device} and CAP_NET_ADMIN`,
      error,
    );
  } finally {
    if (tun !== undefined) closeSync(tun);
  }
}

/**
 * One interface of a namespace that is known by its number, without going there. Undefined: neither may be there any more.
 * Equivalent: `ip -n NAMESPACE -s link show dev NAME`.
 */
export function getLinkByNumber(own: NetlinkSocket, number: number, name: string): Link | undefined {
  const request: NetlinkRequest = {
    verb: `get link ${name} of network namespace number ${number}`,
    type: RTM_GETLINK,
    flags: 0,
    body: Buffer.concat([Buffer.alloc(headerBytes), codec.u32(IFLA_TARGET_NETNSID, number), codec.text(IFLA_IFNAME, name)]),
  };
  const [answer] = own.attempt([request]);
  const reply = answer?.error === undefined ? answer?.replies[0] : undefined;
  return reply === undefined ? undefined : decodeLink(reply.body);
}

/** All interfaces of a namespace that is known by its number; undefined: it has ended. Equivalent: `ip -n NAMESPACE -d link show`. */
export function listLinksByNumber(own: NetlinkSocket, number: number): Link[] | undefined {
  const request: NetlinkRequest = {
    verb: `list links of network namespace number ${number}`,
    type: RTM_GETLINK,
    flags: 0,
    body: Buffer.concat([Buffer.alloc(headerBytes), codec.u32(IFLA_TARGET_NETNSID, number)]),
  };
  try {
    return own.dump(request).map(({ body }) => decodeLink(body));
  } catch (error) {
    if (hasErrno(error, "EINVAL")) return undefined;
    throw error;
  }
}

/** Equivalent: `ip link set dev INDEX netns NAMESPACE`. */
function moveByNumber(index: number, number: number): NetlinkRequest {
  const header = Buffer.alloc(headerBytes);
  header.writeInt32LE(index, 4);
  const body = Buffer.concat([header, codec.u32(IFLA_TARGET_NETNSID, number)]);
  return { verb: `move link ${index} into network namespace number ${number}`, type: RTM_NEWLINK, flags: 0, body };
}

function handleOf(fd: number): NetnsHandle {
  const { dev, ino } = statSync(`/proc/thread-self/fd/${fd}`, { bigint: true });
  let open = true;
  return {
    fd,
    dev,
    ino,
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
