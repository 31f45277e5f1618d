/**
 * What a cross-connect means for the kernel: which interfaces, where, with what on them. Pure; refuses what cannot be built.
 */
import { AF_INET, AF_INET6 } from "../../../sdk/linux/libc.js";
import {
  type Family,
  formatPrefix,
  type IpAddress,
  type IpPrefix,
  networkOf,
  parseAddress,
  parsePrefix,
} from "../../../sdk/linux/netlink/ip-address.js";
import { parseMac } from "../../../sdk/linux/netlink/mac-address.js";
import { parseNetnsUrl } from "../../../sdk/linux/netns.js";
import { Code, type StatusError, statusError } from "../../../sdk/status.js";
import type { CrossConnect, IpRoute, KernelPort, PolicyRule, Port, PortRange, VxlanPort, WireguardPort } from "../dataplane.js";

export type Role = "client" | "endpoint";

/** One interface of a workload. */
export interface LinkPlan {
  readonly role: Role;
  /** A "tun" has no hardware address and no neighbours. */
  readonly medium: "ethernet" | "tun";
  readonly netnsUrl: string;
  readonly name: string;
  readonly alias: string;
  /** Empty: any, kept once chosen. */
  readonly macAddress: string;
  readonly mtuBytes: number;
  readonly addresses: readonly IpPrefix[];
  /** Of the main table; those without a gateway first, because the others may depend on them. */
  readonly routes: readonly PlannedRoute[];
  readonly neighbors: readonly { readonly address: IpAddress; readonly macAddress: string }[];
  readonly policies: readonly PlannedPolicy[];
}

export interface PlannedRoute {
  readonly prefix: IpPrefix;
  readonly gateway: IpAddress | undefined;
}

/** One policy rule in one family; it gets a routing table of its own. */
export interface PlannedPolicy {
  /** Identity over updates: the selectors. */
  readonly key: string;
  readonly family: Family;
  /** Place among the policies of its port: an earlier one is looked at first. */
  readonly position: number;
  readonly from: IpPrefix | undefined;
  readonly ipProtocol: number;
  readonly sourcePorts: PortRange | undefined;
  readonly destinationPorts: PortRange | undefined;
  readonly routes: readonly PlannedRoute[];
}

/** What joins the two ports. */
export type Plan =
  | { readonly kind: "veth"; readonly links: readonly [LinkPlan, LinkPlan] }
  | { readonly kind: "vxlan"; readonly links: readonly [LinkPlan]; readonly tunnel: VxlanPort }
  | { readonly kind: "wireguard"; readonly links: readonly [LinkPlan]; readonly tunnel: WireguardPort }
  | { readonly kind: "nothing"; readonly links: readonly [] };

const maxInterfaceNameBytes = 15;
const maxAliasBytes = 255;
/** Smallest MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200), largest of an Ethernet-like interface. */
const minMtuBytes = 68;
const minIpv6MtuBytes = 1280;
const maxMtuBytes = 65535;
const maxVni = 2 ** 24 - 1;
/** Bounds what one request can make the kernel hold. */
const maxEntries = 4096;

/**
 * @throws INVALID_ARGUMENT a value is malformed; FAILED_PRECONDITION the kernel cannot join these two kinds of ports
 */
export function planOf(crossConnect: CrossConnect): Plan {
  const { client, endpoint, id } = crossConnect;
  if (id === "" || Buffer.byteLength(id) > 1024) throw invalid("cross-connect", "the id must have 1…1024 bytes");
  if (client.kind === "noop" && endpoint.kind === "noop") return { kind: "nothing", links: [] };
  checkMtu(crossConnect.mtuBytes);
  if (client.kind === "kernel" && endpoint.kind === "kernel") {
    const links = [
      planLink("client", client, crossConnect.mtuBytes),
      planLink("endpoint", endpoint, crossConnect.mtuBytes),
    ] as const;
    if (links[0].netnsUrl === links[1].netnsUrl && links[0].name === links[1].name) {
      throw invalid(`interface ${links[0].name}`, "client and endpoint are in one namespace and need different interface names");
    }
    return { kind: "veth", links };
  }
  if (client.kind === "kernel" && endpoint.kind === "vxlan") return planTunnel("client", client, endpoint, crossConnect);
  if (client.kind === "vxlan" && endpoint.kind === "kernel") return planTunnel("endpoint", endpoint, client, crossConnect);
  if (client.kind === "kernel" && endpoint.kind === "wireguard") return planEncrypted("client", client, endpoint, crossConnect);
  if (client.kind === "wireguard" && endpoint.kind === "kernel") return planEncrypted("endpoint", endpoint, client, crossConnect);
  throw statusError(
    Code.FAILED_PRECONDITION,
    `${describe(client)} to ${describe(endpoint)}: the kernel data plane joins kernel interfaces, or one with VXLAN or WireGuard`,
  );
}

function planTunnel(role: Role, port: KernelPort, tunnel: VxlanPort, { payload, mtuBytes }: CrossConnect): Plan {
  if (payload !== "ETHERNET") {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `payload ${payload || "(empty)"} over VXLAN: VXLAN carries Ethernet frames; choose payload ETHERNET or a mechanism for IP packets`,
    );
  }
  if (!Number.isInteger(tunnel.vni) || tunnel.vni < 1 || tunnel.vni > maxVni)
    throw invalid(`vni ${tunnel.vni}`, `must be 1…${maxVni}`);
  checkPort("VXLAN UDP port", tunnel.udpPort, 1);
  checkEnds(tunnel);
  return { kind: "vxlan", links: [planLink(role, port, mtuBytes)], tunnel };
}

function planEncrypted(role: Role, port: KernelPort, tunnel: WireguardPort, { payload, mtuBytes }: CrossConnect): Plan {
  if (payload !== "IP") {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `payload ${payload || "(empty)"} over WireGuard: WireGuard carries IP packets; choose payload IP or a mechanism for Ethernet frames`,
    );
  }
  for (const each of tunnel.beside === undefined ? [tunnel] : [tunnel, tunnel.beside]) {
    checkPort("WireGuard UDP port", each.listenPort, 1);
    checkPort("WireGuard UDP port of the other end", each.remotePort, 1);
    checkKey("WireGuard private key", each.privateKey);
    checkKey("WireGuard public key of the other end", each.remotePublicKey);
  }
  checkEnds(tunnel);
  return {
    kind: "wireguard",
    links: [{ ...planLink(role, port, mtuBytes), medium: "tun", macAddress: "", neighbors: [] }],
    tunnel,
  };
}

function checkEnds({ localAddress, remoteAddress }: { readonly localAddress: string; readonly remoteAddress: string }): void {
  if (parseAddress(localAddress).family === parseAddress(remoteAddress).family) return;
  throw invalid(`tunnel ${localAddress} – ${remoteAddress}`, "both ends must be of one address family");
}

/** The key itself never gets into a text. */
function checkKey(what: string, key: string): void {
  const bytes = Buffer.from(key, "base64");
  if (bytes.length !== 32 || bytes.toString("base64") !== key) throw invalid(what, "must be 32 bytes in standard base64");
}

function planLink(role: Role, port: KernelPort, mtuBytes: number): LinkPlan {
  parseNetnsUrl(port.netnsUrl);
  checkName(port.interfaceName);
  if (Buffer.byteLength(port.alias) > maxAliasBytes)
    throw invalid(`alias of ${port.interfaceName}`, `at most ${maxAliasBytes} bytes`);
  if (port.macAddress !== "") parseMac(port.macAddress);
  const entries = [
    port.addresses,
    port.onLinkPrefixes,
    port.routes,
    port.neighbors,
    port.policies,
    port.policies.flatMap(({ routes }) => routes),
  ];
  if (entries.some(({ length }) => length > maxEntries)) {
    throw invalid(`interface ${port.interfaceName}`, `at most ${maxEntries} addresses, routes, neighbors and policies each`);
  }
  const addresses = unique(port.addresses.map(parsePrefix), formatPrefix);
  if (mtuBytes < minIpv6MtuBytes && addresses.some(({ family }) => family === AF_INET6)) {
    throw invalid(`mtu ${mtuBytes}`, `IPv6 needs at least ${minIpv6MtuBytes}`);
  }
  const onLink = port.onLinkPrefixes.map((prefix) => planRoute({ prefix, nextHop: "" }));
  const routes = port.routes.map(planRoute);
  return {
    role,
    medium: "ethernet",
    netnsUrl: port.netnsUrl,
    name: port.interfaceName,
    alias: port.alias,
    macAddress: port.macAddress.toLowerCase(),
    mtuBytes,
    addresses,
    routes: unique(
      [...onLink, ...routes.filter(({ gateway }) => !gateway), ...routes.filter(({ gateway }) => gateway)],
      routeKey,
    ),
    neighbors: port.neighbors.map(({ address, macAddress }) => {
      parseMac(macAddress);
      return { address: parseAddress(address), macAddress: macAddress.toLowerCase() };
    }),
    policies: unique(
      port.policies.flatMap((policy, position) => planPolicy(policy, position, addresses)),
      ({ key }) => key,
    ),
  };
}

function planRoute({ prefix, nextHop }: IpRoute): PlannedRoute {
  const network = networkOf(parsePrefix(prefix));
  const gateway = nextHop === "" ? undefined : parseAddress(nextHop);
  if (gateway !== undefined && gateway.family !== network.family) {
    throw invalid(`route ${prefix} via ${nextHop}`, "prefix and next hop must be of one address family");
  }
  return { prefix: network, gateway };
}

/** Without a source the families are those of the routes; without routes, those of the interface, each with a default route. */
function planPolicy(policy: PolicyRule, position: number, addresses: readonly IpPrefix[]): PlannedPolicy[] {
  if (!Number.isInteger(policy.protocol) || policy.protocol < 0 || policy.protocol > 255) {
    throw invalid(`policy protocol ${policy.protocol}`, "must be an IP protocol number, 0…255");
  }
  const from = policy.from === "" ? undefined : networkOf(parsePrefix(policy.from));
  const routes = policy.routes.map(planRoute);
  const sourcePorts = planPorts("source port", policy.sourcePorts);
  const destinationPorts = planPorts("destination port", policy.destinationPorts);
  const candidates = from === undefined ? (routes.length > 0 ? routes.map(({ prefix }) => prefix) : addresses) : [from];
  const families = new Set(candidates.map(({ family }) => family));
  return [...families].map((family) => {
    const own = unique(
      routes.filter(({ prefix }) => prefix.family === family),
      routeKey,
    );
    const selectors = [from && formatPrefix(from), policy.protocol, sourcePorts, destinationPorts];
    return {
      key: JSON.stringify([family, ...selectors]),
      family,
      position,
      from,
      ipProtocol: policy.protocol,
      sourcePorts,
      destinationPorts,
      routes: own.length > 0 ? own : [planRoute({ prefix: family === AF_INET ? "0.0.0.0/0" : "::/0", nextHop: "" })],
    };
  });
}

/** The kernel refuses 65535 as the end of a range (fib_rule_port_range_valid); all ports are no selector at all. */
function planPorts(what: string, range: PortRange | undefined): PortRange | undefined {
  if (range === undefined) return undefined;
  checkPort(what, range.first, 0);
  checkPort(what, range.last, range.first);
  if (range.first <= 1 && range.last === 65535) return undefined;
  if (range.last === 0) return undefined;
  if (range.first === 65535) throw invalid(`${what} 65535`, "the kernel cannot match this port alone");
  return { first: Math.max(1, range.first), last: Math.min(65534, range.last) };
}

export function routeKey({ prefix, gateway }: PlannedRoute): string {
  return `${formatPrefix(prefix)} ${gateway?.bytes.join(".") ?? ""}`;
}

function checkMtu(mtuBytes: number): void {
  if (!Number.isInteger(mtuBytes) || mtuBytes < minMtuBytes || mtuBytes > maxMtuBytes) {
    throw invalid(`mtu ${mtuBytes}`, `must be ${minMtuBytes}…${maxMtuBytes}`);
  }
}

function checkPort(what: string, port: number, least: number): void {
  if (!Number.isInteger(port) || port < least || port > 65535) throw invalid(`${what} ${port}`, `must be ${least}…65535`);
}

/** What dev_valid_name in the kernel allows, without "%", which would make it a pattern. */
function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes < 1 || bytes > maxInterfaceNameBytes) {
    throw invalid(
      `interface name ${JSON.stringify(name.slice(0, 64))}`,
      `must have 1…${maxInterfaceNameBytes} bytes, not ${bytes}`,
    );
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (name === "." || name === ".." || /[/:%\s\u0000-\u001f\u007f]/.test(name)) {
    throw invalid(`interface name ${JSON.stringify(name)}`, "must not be . or .. nor contain / : % or white space");
  }
}

function describe(port: Port): string {
  return port.kind === "noop" ? `unbuilt ${port.mechanism}` : port.kind;
}

function invalid(what: string, rule: string): StatusError {
  return statusError(Code.INVALID_ARGUMENT, `${what}: ${rule}`);
}

function unique<T>(values: readonly T[], key: (value: T) => string): T[] {
  return [...new Map(values.map((value) => [key(value), value] as const).reverse()).values()].reverse();
}
