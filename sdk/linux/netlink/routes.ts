/**
 * Routes: RTM_*ROUTE (linux/rtnetlink.h).
 */
import { AF_INET, AF_INET6 } from "../libc.js";
import { hasErrno } from "../system-error.js";
import * as codec from "./codec.js";
import {
  addressBits,
  addressFrom,
  type Family,
  formatAddress,
  formatPrefix,
  type IpAddress,
  type IpPrefix,
  networkOf,
} from "./ip-address.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

export interface Route {
  readonly prefix: IpPrefix;
  readonly gateway: IpAddress | undefined;
  readonly linkIndex: number;
  /** 254 = main. */
  readonly table: number;
  /** Who made it (rtm_protocol). */
  readonly protocol: number;
  /** Smaller is preferred. 0 in IPv6 means 1024. */
  readonly metric: number;
}

/** What stands before a prefix that already has a route with the same metric. */
export type RoutePlace = "exclusive" | "before-others";

export const mainTable = 254;
const localTable = 255;
/** rtm_protocol of routes and rules made by Weft, and NDA_PROTOCOL of its neighbours: "W" (iproute2's rt_protos does not use it). */
export const weftProtocol = 87;

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_TABLE = 15;
const RTA_IP_PROTO = 27;
const RTA_DPORT = 29;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RTM_F_CLONED = 0x200;
const RTNH_F_ONLINK = 4;
const headerLength = 12;

/**
 * "before-others" puts an IPv4 route in front of one with the same prefix and metric, which stays; "exclusive" is refused with EEXIST.
 * Equivalent: `ip route add|prepend PREFIX [via GATEWAY onlink] dev NAME table N metric M proto P`.
 */
export function addRoute(route: Route, place: RoutePlace): NetlinkRequest {
  return {
    verb: `add route ${describeRoute(route)}`,
    type: RTM_NEWROUTE,
    flags: codec.NLM_F_CREATE | (place === "exclusive" ? codec.NLM_F_EXCL : 0),
    body: Buffer.concat([header(route, route.gateway === undefined ? 0 : RTNH_F_ONLINK), ...values(route)]),
  };
}

/** Equivalent: `ip route delete PREFIX [via GATEWAY] dev NAME table N metric M`. */
export function deleteRoute(route: Route): NetlinkRequest {
  return {
    verb: `delete route ${describeRoute(route)}`,
    type: RTM_DELROUTE,
    flags: 0,
    tolerate: ["ESRCH", "ENOENT", "ENODEV"],
    body: Buffer.concat([header(route, 0), ...values(route)]),
  };
}

/** Unicast routes through one interface (0 = any), in all tables. Equivalent: `ip route show table all [dev NAME]`. */
export function listRoutes(socket: NetlinkSocket, family: Family, linkIndex = 0): Route[] {
  const body = Buffer.alloc(headerLength);
  body.writeUInt8(family, 0);
  const filter = linkIndex === 0 ? [] : [codec.u32(RTA_OIF, linkIndex)];
  return socket
    .dump({
      verb: `list routes of link ${linkIndex}`,
      type: RTM_GETROUTE,
      flags: 0,
      body: Buffer.concat([body, ...filter]),
      tolerate: [],
    })
    .map((message) => decodeRoute(message.body))
    .filter((route) => route !== undefined)
    .filter((route) => linkIndex === 0 || route.linkIndex === linkIndex);
}

/**
 * IPv6 addresses for which an interface takes packets in: they have their route in the kernel's local table. An address that was
 * accepted gets it from a worker of the kernel, on a busy machine half a second later (net/ipv6/addrconf.c, addrconf_dad_work).
 * Equivalent: `ip -6 route show table local type local dev NAME`.
 */
export function listTakenAddresses(socket: NetlinkSocket, linkIndex: number): IpAddress[] {
  const head = Buffer.alloc(headerLength);
  head.writeUInt8(AF_INET6, 0);
  head.writeUInt8(localTable, 4);
  head.writeUInt8(RTN_LOCAL, 7);
  const body = Buffer.concat([head, codec.u32(RTA_OIF, linkIndex), codec.u32(RTA_TABLE, localTable)]);
  return socket
    .dump({ verb: `list local routes of link ${linkIndex}`, type: RTM_GETROUTE, flags: 0, body })
    .filter((message) => message.body.length >= headerLength && message.body.readUInt8(7) === RTN_LOCAL)
    .map((message) => codec.decodeAttributes(message.body, headerLength))
    .filter((attributes) => codec.readUnsigned(attributes.get(RTA_OIF)) === linkIndex)
    .map((attributes) => addressFrom(AF_INET6, attributes.get(RTA_DST)))
    .filter((address) => address !== undefined);
}

/** Whether a routing table holds nothing. Equivalent: `ip route show table N`. */
export function isTableEmpty(socket: NetlinkSocket, family: Family, table: number): boolean {
  const body = Buffer.alloc(headerLength);
  body.writeUInt8(family, 0);
  const request = {
    verb: `list routes of table ${table}`,
    type: RTM_GETROUTE,
    flags: 0,
    body: Buffer.concat([body, codec.u32(RTA_TABLE, table)]),
  };
  try {
    return !socket.dump(request).some((message) => decodeRoute(message.body)?.table === table);
  } catch (error) {
    // The kernel makes a table with its first route.
    if (hasErrno(error, "ENOENT")) return true;
    throw error;
  }
}

export interface RouteQuery {
  readonly destination: IpAddress;
  readonly source?: IpAddress;
  /** IP protocol number, for rules that select by it. */
  readonly ipProtocol?: number;
  readonly destinationPort?: number;
}

/**
 * The route that a packet would take; undefined: none. Equivalent: `ip route get ADDRESS [from SOURCE] [ipproto N] [dport P]`.
 */
export function lookUpRoute(socket: NetlinkSocket, query: RouteQuery): Route | undefined {
  const { destination, source, ipProtocol, destinationPort } = query;
  const bytes = Buffer.alloc(headerLength);
  bytes.writeUInt8(destination.family, 0);
  bytes.writeUInt8(addressBits(destination.family), 1);
  bytes.writeUInt8(source === undefined ? 0 : addressBits(destination.family), 2);
  const body = Buffer.concat([
    bytes,
    codec.attribute(RTA_DST, destination.bytes),
    ...(source === undefined ? [] : [codec.attribute(RTA_SRC, source.bytes)]),
    ...(ipProtocol === undefined ? [] : [codec.u8(RTA_IP_PROTO, ipProtocol)]),
    ...(destinationPort === undefined ? [] : [codec.be16(RTA_DPORT, destinationPort)]),
  ]);
  const verb = `look up the route to ${formatAddress(destination)}`;
  const reply = socket.perform([{ verb, type: RTM_GETROUTE, flags: 0, body, tolerate: ["ENETUNREACH", "EHOSTUNREACH"] }])[0]?.[0];
  return reply === undefined ? undefined : decodeRoute(reply.body, "also-cloned");
}

/**
 * Reads the body of RTM_NEWROUTE; undefined: no unicast route of a known family.
 * @throws Error when it does not follow the format
 */
export function decodeRoute(body: Buffer, cloned: "no-cloned" | "also-cloned" = "no-cloned"): Route | undefined {
  if (body.length < headerLength) throw codec.formatError(`route of ${body.length} bytes`);
  const family = body.readUInt8(0);
  if (body.readUInt8(7) !== RTN_UNICAST) return undefined;
  if (cloned === "no-cloned" && (body.readUInt32LE(8) & RTM_F_CLONED) !== 0) return undefined;
  const attributes = codec.decodeAttributes(body, headerLength);
  const zero = Buffer.alloc(family === AF_INET ? 4 : 16);
  const address = addressFrom(family, attributes.get(RTA_DST) ?? zero);
  if (address === undefined) return undefined;
  return {
    prefix: { ...address, length: body.readUInt8(1) },
    gateway: addressFrom(family, attributes.get(RTA_GATEWAY)),
    linkIndex: codec.readUnsigned(attributes.get(RTA_OIF)) ?? 0,
    table: codec.readUnsigned(attributes.get(RTA_TABLE)) ?? body.readUInt8(4),
    protocol: body.readUInt8(5),
    metric: codec.readUnsigned(attributes.get(RTA_PRIORITY)) ?? 0,
  };
}

export function describeRoute(route: Route): string {
  const via = route.gateway === undefined ? "" : ` via ${formatAddress(route.gateway)}`;
  return `${formatPrefix(route.prefix)}${via} through link ${route.linkIndex} in table ${route.table}`;
}

/** struct rtmsg. */
function header(route: Route, flags: number): Buffer {
  const bytes = Buffer.alloc(headerLength);
  bytes.writeUInt8(route.prefix.family, 0);
  bytes.writeUInt8(route.prefix.length, 1);
  bytes.writeUInt8(route.table < 256 ? route.table : 0, 4);
  bytes.writeUInt8(route.protocol, 5);
  bytes.writeUInt8(route.gateway === undefined && route.prefix.family === AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, 6);
  bytes.writeUInt8(RTN_UNICAST, 7);
  bytes.writeUInt32LE(flags, 8);
  return bytes;
}

function values(route: Route): Buffer[] {
  return [
    codec.attribute(RTA_DST, networkOf(route.prefix).bytes),
    ...(route.gateway === undefined ? [] : [codec.attribute(RTA_GATEWAY, route.gateway.bytes)]),
    codec.u32(RTA_OIF, route.linkIndex),
    codec.u32(RTA_TABLE, route.table),
    ...(route.metric === 0 ? [] : [codec.u32(RTA_PRIORITY, route.metric)]),
  ];
}
