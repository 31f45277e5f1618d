/**
 * Network interfaces: requests and answers of RTM_*LINK (linux/if_link.h).
 */
import { AF_INET } from "../libc.js";
import type { NetnsHandle } from "../netns.js";
import * as codec from "./codec.js";
import { type IpAddress, parseAddress } from "./ip-address.js";
import { decodeStatistics, type LinkStatistics } from "./link-statistics.js";
import { formatMac, parseMac } from "./mac-address.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

/** An interface as the kernel describes it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  readonly alias: string;
  /** A number that somebody gave it; 0 = none (ip-link(8), group). */
  readonly group: number;
  /** "veth", "vxlan", …; empty for hardware and loopback. */
  readonly kind: string;
  readonly macAddress: string;
  readonly mtuBytes: number;
  /** Set up by somebody (IFF_UP). */
  readonly up: boolean;
  /** Has a carrier: for a veth, its peer is up as well (IFF_LOWER_UP). */
  readonly carrier: boolean;
  /** The kernel has switched the carrier through and sends packets (RFC 2863 operational state "up"; "unknown" for tunnels). */
  readonly operational: boolean;
  /** Of a veth: the index of its peer in the peer's namespace. */
  readonly peerIndex: number | undefined;
  readonly vxlan: { readonly vni: number; readonly udpPort: number } | undefined;
  readonly statistics: LinkStatistics | undefined;
}

/** One end of a veth pair to be created. */
export interface VethEnd {
  readonly netns: Pick<NetnsHandle, "fd">;
  readonly name: string;
  readonly macAddress: string;
  readonly mtuBytes: number;
}

export interface VxlanLink extends VethEnd {
  readonly vni: number;
  readonly udpPort: number;
  readonly localAddress: string;
  readonly remoteAddress: string;
}

/** What may be changed of an interface; absent = left alone. */
export interface LinkChange {
  readonly name?: string;
  readonly alias?: string;
  readonly macAddress?: string;
  readonly mtuBytes?: number;
  readonly up?: boolean;
  readonly group?: number;
  /** Index of the bridge it belongs to; 0 = none. */
  readonly masterIndex?: number;
}

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_OPERSTATE = 16;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_STATS64 = 23;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_SKIP_STATS = 8;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_GROUP = 2;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_GROUP6 = 16;
const IFLA_VXLAN_LOCAL6 = 17;
const IF_OPER_UNKNOWN = 0;
const IF_OPER_UP = 6;
const IFF_UP = 0x1;
const IFF_LOWER_UP = 0x10000;
const headerLength = 16;

/**
 * A pair of connected interfaces, each made in its own namespace by this one message, both still down.
 * Equivalent: `ip link add A netns NA address MAC mtu N type veth peer name B netns NB address MAC mtu N`.
 */
export function createVeth(one: VethEnd, other: VethEnd): NetlinkRequest {
  const peer = codec.nested(VETH_INFO_PEER, header(0, 0, 0), ...endAttributes(other));
  return {
    verb: `create veth ${one.name} with peer ${other.name}`,
    type: RTM_NEWLINK,
    flags: codec.NLM_F_CREATE | codec.NLM_F_EXCL,
    body: Buffer.concat([header(0, 0, 0), ...endAttributes(one), linkInfo("veth", peer)]),
  };
}

/**
 * A point-to-point VXLAN interface made in `link.netns`, whose tunnel ends in the namespace of the socket it is sent on. Still down.
 * Equivalent: `ip link add NAME netns NS address MAC mtu N type vxlan id VNI local L remote R dstport P nolearning`.
 */
export function createVxlan(link: VxlanLink): NetlinkRequest {
  return {
    verb: `create vxlan ${link.name} vni=${link.vni} port=${link.udpPort}`,
    type: RTM_NEWLINK,
    flags: codec.NLM_F_CREATE | codec.NLM_F_EXCL,
    body: Buffer.concat([
      header(0, 0, 0),
      ...endAttributes(link),
      linkInfo(
        "vxlan",
        codec.u32(IFLA_VXLAN_ID, link.vni),
        codec.be16(IFLA_VXLAN_PORT, link.udpPort),
        codec.u8(IFLA_VXLAN_LEARNING, 0),
        ...tunnelAddresses(parseAddress(link.localAddress), parseAddress(link.remoteAddress)),
      ),
    ]),
  };
}

/** Equivalent: `ip link add NAME type KIND`, for kinds that need no options (bridge, dummy, ifb). */
export function createPlainLink(name: string, kind: string): NetlinkRequest {
  return {
    verb: `create ${kind} ${name}`,
    type: RTM_NEWLINK,
    flags: codec.NLM_F_CREATE | codec.NLM_F_EXCL,
    body: Buffer.concat([header(0, 0, 0), codec.text(IFLA_IFNAME, name), linkInfo(kind)]),
  };
}

/** Equivalent: `ip link set dev NAME [name NEW] [alias TEXT] [address MAC] [mtu N] [up|down] [group N] [master BRIDGE]`. */
export function setLink(index: number, change: LinkChange): NetlinkRequest {
  const flags = change.up === undefined ? 0 : IFF_UP;
  return {
    verb: `set link ${index} ${JSON.stringify(change)}`,
    type: RTM_NEWLINK,
    flags: 0,
    body: Buffer.concat([
      header(index, change.up === true ? IFF_UP : 0, flags),
      ...(change.name === undefined ? [] : [codec.text(IFLA_IFNAME, change.name)]),
      ...(change.alias === undefined ? [] : [codec.text(IFLA_IFALIAS, change.alias)]),
      ...(change.macAddress === undefined ? [] : [codec.attribute(IFLA_ADDRESS, parseMac(change.macAddress))]),
      ...(change.mtuBytes === undefined ? [] : [codec.u32(IFLA_MTU, change.mtuBytes)]),
      ...(change.group === undefined ? [] : [codec.u32(IFLA_GROUP, change.group)]),
      ...(change.masterIndex === undefined ? [] : [codec.u32(IFLA_MASTER, change.masterIndex)]),
    ]),
  };
}

/** Where a VXLAN interface sends to and from, changed in place. Equivalent: `ip link set dev NAME type vxlan id VNI local L remote R`. */
export function retargetVxlan(index: number, link: Pick<VxlanLink, "vni" | "localAddress" | "remoteAddress">): NetlinkRequest {
  return {
    verb: `set vxlan ${index} vni=${link.vni} remote=${link.remoteAddress}`,
    type: RTM_NEWLINK,
    flags: 0,
    body: Buffer.concat([
      header(index, 0, 0),
      linkInfo(
        "vxlan",
        codec.u32(IFLA_VXLAN_ID, link.vni),
        ...tunnelAddresses(parseAddress(link.localAddress), parseAddress(link.remoteAddress)),
      ),
    ]),
  };
}

/** Equivalent: `ip link delete dev NAME`. The kernel sleeps about 20 ms: send it with `performOnThread`. */
export function deleteLink(index: number): NetlinkRequest {
  return { verb: `delete link ${index}`, type: RTM_DELLINK, flags: 0, tolerate: ["ENODEV"], body: header(index, 0, 0) };
}

/** Deletes all interfaces of a group in the time of one. Equivalent: `ip link delete group N`. */
export function deleteLinkGroup(group: number): NetlinkRequest {
  return {
    verb: `delete links of group ${group}`,
    type: RTM_DELLINK,
    flags: 0,
    tolerate: ["ENODEV"],
    body: Buffer.concat([header(0, 0, 0), codec.u32(IFLA_GROUP, group)]),
  };
}

/** One interface by name or index; undefined: there is none. Equivalent: `ip [-s] -d link show dev NAME`. */
export function getLink(
  socket: NetlinkSocket,
  which: string | number,
  statistics: "with-statistics" | "without-statistics" = "with-statistics",
): Link | undefined {
  const byName = typeof which === "string";
  const request: NetlinkRequest = {
    verb: `get link ${which}`,
    type: RTM_GETLINK,
    flags: 0,
    tolerate: ["ENODEV"],
    body: Buffer.concat([
      header(byName ? 0 : which, 0, 0),
      ...(byName ? [codec.text(IFLA_IFNAME, which)] : []),
      ...(statistics === "without-statistics" ? [codec.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)] : []),
    ]),
  };
  const reply = socket.perform([request])[0]?.[0];
  return reply === undefined ? undefined : decodeLink(reply.body);
}

/** All interfaces of the socket's namespace. Equivalent: `ip -d link show`. */
export function listLinks(socket: NetlinkSocket): Link[] {
  const request: NetlinkRequest = { verb: "list links", type: RTM_GETLINK, flags: 0, body: header(0, 0, 0) };
  return socket.dump(request).map(({ body }) => decodeLink(body));
}

/**
 * Reads the body of RTM_NEWLINK.
 * @throws Error when it does not follow the format
 */
export function decodeLink(body: Buffer): Link {
  if (body.length < headerLength) throw codec.formatError(`link of ${body.length} bytes`);
  const attributes = codec.decodeAttributes(body, headerLength);
  const flags = body.readUInt32LE(8);
  const operationalState = codec.readUnsigned(attributes.get(IFLA_OPERSTATE)) ?? IF_OPER_UNKNOWN;
  const linkInfoBytes = attributes.get(IFLA_LINKINFO);
  const info = linkInfoBytes === undefined ? new Map<number, Buffer>() : codec.decodeAttributes(linkInfoBytes);
  const kind = codec.readString(info.get(IFLA_INFO_KIND));
  return {
    index: body.readInt32LE(4),
    name: codec.readString(attributes.get(IFLA_IFNAME)),
    alias: codec.readString(attributes.get(IFLA_IFALIAS)),
    group: codec.readUnsigned(attributes.get(IFLA_GROUP)) ?? 0,
    kind,
    macAddress: formatMac(attributes.get(IFLA_ADDRESS) ?? new Uint8Array()),
    mtuBytes: codec.readUnsigned(attributes.get(IFLA_MTU)) ?? 0,
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    operational: operationalState === IF_OPER_UP || (operationalState === IF_OPER_UNKNOWN && kind !== "veth"),
    peerIndex: kind === "veth" ? codec.readUnsigned(attributes.get(IFLA_LINK)) : undefined,
    vxlan: kind === "vxlan" ? decodeVxlan(info.get(IFLA_INFO_DATA)) : undefined,
    statistics: decodeStatistics(attributes.get(IFLA_STATS64)),
  };
}

function decodeVxlan(data: Buffer | undefined): Link["vxlan"] {
  if (data === undefined) return undefined;
  const attributes = codec.decodeAttributes(data);
  const port = attributes.get(IFLA_VXLAN_PORT);
  return { vni: codec.readUnsigned(attributes.get(IFLA_VXLAN_ID)) ?? 0, udpPort: port?.length === 2 ? port.readUInt16BE() : 0 };
}

/** struct ifinfomsg. */
function header(index: number, flags: number, changeMask: number): Buffer {
  const bytes = Buffer.alloc(headerLength);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(changeMask, 12);
  return bytes;
}

function endAttributes(end: VethEnd): Buffer[] {
  return [
    codec.text(IFLA_IFNAME, end.name),
    codec.u32(IFLA_NET_NS_FD, end.netns.fd),
    codec.attribute(IFLA_ADDRESS, parseMac(end.macAddress)),
    codec.u32(IFLA_MTU, end.mtuBytes),
  ];
}

function tunnelAddresses(local: IpAddress, remote: IpAddress): Buffer[] {
  return [
    codec.attribute(local.family === AF_INET ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, local.bytes),
    codec.attribute(remote.family === AF_INET ? IFLA_VXLAN_GROUP : IFLA_VXLAN_GROUP6, remote.bytes),
  ];
}

function linkInfo(kind: string, ...data: readonly Uint8Array[]): Buffer {
  return codec.nested(
    IFLA_LINKINFO,
    codec.text(IFLA_INFO_KIND, kind),
    ...(data.length === 0 ? [] : [codec.nested(IFLA_INFO_DATA, ...data)]),
  );
}
