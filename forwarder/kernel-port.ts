/**
 * What the interface at one end of a connection looks like, from the connection's context (pure).
 *
 * | end      | addresses    | reached directly            | routes                                       |
 * |----------|--------------|-----------------------------|----------------------------------------------|
 * | client   | src_ip_addrs | dst_ip_addrs not yet covered | src_routes, by default through the first dst |
 * | endpoint | dst_ip_addrs | src_ip_addrs not yet covered | dst_routes, by default through the first src |
 *
 * Meaning of the fields: NSM sdk-kernel, ipcontext elements. Policy rules are the client's.
 */
import type { ConnectionContext, IpNeighbor, Route } from "../sdk/gen/connectioncontext.js";
import { formatAddress, hostPrefix, type Prefix, parseAddress, parsePrefix } from "../sdk/ip.js";
import type { KernelParameters } from "../sdk/mechanisms/kernel.js";
import { Code, type StatusError, statusError } from "../sdk/status.js";
import type { IpRoute, KernelPort } from "./dataplane/dataplane.js";
import { policyRules } from "./policy-rules.js";
import { contains, networkOf } from "./prefix.js";

export interface KernelEnd {
  readonly end: "client" | "endpoint";
  readonly connectionId: string;
  /** Id of the first path segment: what the link's alias is made of. */
  readonly firstSegmentId: string;
  readonly parameters: KernelParameters;
  readonly interfaceName: string;
  readonly context: ConnectionContext | undefined;
}

/** Room for an alias: IFALIASZ − 1 (linux/if.h). */
const maxAliasBytes = 255;
const maxEntries = 4096;

/**
 * @throws FAILED_PRECONDITION when the endpoint has put something into the context that is not an address, prefix, …
 */
export function kernelPort(side: KernelEnd): KernelPort {
  const { end, parameters, interfaceName, connectionId } = side;
  const bare: KernelPort = {
    kind: "kernel",
    netnsUrl: parameters.netnsUrl,
    interfaceName,
    alias: aliasOf(end, side.firstSegmentId),
    macAddress: macAddressOf(side),
    addresses: [],
    onLinkPrefixes: [],
    routes: [],
    neighbors: [],
    policies: [],
  };
  const ip = side.context?.ip_context;
  if (ip === undefined || parameters.unnumbered || parameters.vlan !== undefined) return bare;

  const refuse = refusal(connectionId);
  const source = parsePrefixes("src_ip_addrs", ip.src_ip_addrs, refuse);
  const destination = parsePrefixes("dst_ip_addrs", ip.dst_ip_addrs, refuse);
  const both = source.find((prefix) => destination.some((other) => sameAddress(prefix, other)));
  if (both !== undefined) {
    throw refuse("src_ip_addrs", formatAddress(both), "addresses that the other end (dst_ip_addrs) does not have");
  }
  const [own, peer] = end === "client" ? [source, destination] : [destination, source];
  const routesField = end === "client" ? "src_routes" : "dst_routes";
  const onLinkPrefixes = unique(peer.filter((address) => !own.some((prefix) => contains(prefix, address))).map(hostPrefix));
  return {
    ...bare,
    addresses: unique(own.map((prefix) => `${formatAddress(prefix)}/${prefix.length}`)),
    onLinkPrefixes,
    routes: routesOf(routesField, ip[routesField], own, peer, onLinkPrefixes, refuse),
    neighbors: neighborsOf(ip.ip_neighbors, own, peer, end, refuse),
    policies: end === "client" ? policyRules(ip.policies, unique(own.map(({ family }) => family)), refuse) : [],
  };
}

type Refuse = (field: string, value: string, expected: string) => StatusError;

function refusal(connectionId: string): Refuse {
  return (field, value, expected) =>
    statusError(
      Code.FAILED_PRECONDITION,
      `connection ${connectionId}: ip_context.${field} has ${JSON.stringify(value.slice(0, 80))}; the endpoint must give ${expected}`,
    );
}

function parsePrefixes(field: string, texts: readonly string[], refuse: Refuse): Prefix[] {
  limit(field, texts.length, refuse);
  return texts.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw refuse(field, text, "addresses in CIDR form");
    return prefix;
  });
}

/** A route without next hop goes through the first address of the other end, unless that end itself owns the prefix. */
function routesOf(
  field: string,
  routes: readonly Route[],
  own: readonly Prefix[],
  peer: readonly Prefix[],
  onLinkPrefixes: readonly string[],
  refuse: Refuse,
): IpRoute[] {
  limit(field, routes.length, refuse);
  const result = new Map<string, IpRoute>();
  for (const route of routes) {
    const prefix = parsePrefix(route.prefix);
    if (prefix === undefined) throw refuse(field, route.prefix, "prefixes in CIDR form");
    const given = route.nextHop === "" ? undefined : parseAddress(route.nextHop);
    if (route.nextHop !== "" && given?.family !== prefix.family) {
      throw refuse(field, route.nextHop, `an IPv${prefix.family} address as the next hop of ${route.prefix}`);
    }
    const direct = peer.some((address) => contains(address, prefix));
    const nextHop = given ?? (direct ? undefined : peer.find(({ family }) => family === prefix.family));
    const network = networkOf(prefix);
    const connected = onLinkPrefixes.includes(network) || own.some((address) => networkOf(address) === network);
    if (nextHop === undefined && connected) continue;
    result.set(network, { prefix: network, nextHop: nextHop === undefined ? "" : formatAddress(nextHop) });
  }
  return [...result.values()];
}

/** The client knows everybody but itself; the endpoint is told of its client only. */
function neighborsOf(
  neighbors: readonly IpNeighbor[],
  own: readonly Prefix[],
  peer: readonly Prefix[],
  end: "client" | "endpoint",
  refuse: Refuse,
): KernelPort["neighbors"] {
  limit("ip_neighbors", neighbors.length, refuse);
  return neighbors.flatMap(({ ip, hardware_address }) => {
    const address = parseAddress(ip);
    if (address === undefined) throw refuse("ip_neighbors", ip, "IP addresses");
    const macAddress = parseMac(hardware_address);
    if (macAddress === undefined) throw refuse("ip_neighbors", hardware_address, "MAC addresses such as 02:00:00:00:00:01");
    const host = { ...address, length: 0 };
    if (own.some((prefix) => sameAddress(prefix, host))) return [];
    if (end === "endpoint" && !peer.some((prefix) => sameAddress(prefix, host))) return [];
    return [{ address: formatAddress(address), macAddress }];
  });
}

function macAddressOf({ end, context, connectionId }: KernelEnd): string {
  const ethernet = context?.ethernet_context;
  const text = (end === "client" ? ethernet?.src_mac : ethernet?.dst_mac) ?? "";
  if (text === "") return "";
  const mac = parseMac(text);
  if (mac === undefined) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `connection ${connectionId}: ethernet_context has the MAC address ${JSON.stringify(text.slice(0, 80))}; ` +
        "give six hexadecimal bytes of one station, such as 02:00:00:00:00:01",
    );
  }
  return mac;
}

/** Canonical text of a station's address: six bytes, not a group's (lowest bit of the first byte), not all zero. */
function parseMac(text: string): string | undefined {
  const mac = text.toLowerCase().replaceAll("-", ":");
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) || mac === "00:00:00:00:00:00") return undefined;
  return Number.parseInt(mac.slice(0, 2), 16) % 2 === 1 ? undefined : mac;
}

/** As NSM writes it: `server-ID` on the client's interface, `client-ID` on the endpoint's. */
function aliasOf(end: "client" | "endpoint", firstSegmentId: string): string {
  return `${end === "client" ? "server" : "client"}-${firstSegmentId.replace(/[^\x21-\x7e]/g, "_")}`.slice(0, maxAliasBytes);
}

function sameAddress(a: Prefix, b: Prefix): boolean {
  return a.family === b.family && a.value === b.value;
}

function limit(field: string, count: number, refuse: Refuse): void {
  if (count > maxEntries) throw refuse(field, `${count} entries`, `at most ${maxEntries}`);
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
