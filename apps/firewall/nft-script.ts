/**
 * Rules as input for `nft -f -` (pure). One table of family netdev for each connection:
 *
 *   from_client  at the ingress of the client's interface:  jump request, then fwd to the network's interface
 *   from_network at the ingress of the network's interface: jump reply,   then fwd to the client's interface
 *
 * A rule that permits returns to these chains, so that the frame goes on unchanged on the other wire; no address, route or
 * bridge is needed in this namespace. Nothing from the rules file or the wire stands in a script but numbers, addresses
 * that were parsed, and interface names that were checked.
 */
import { createHash } from "node:crypto";
import { formatAddress, type Prefix } from "../../sdk/ip.js";
import { Code, statusError } from "../../sdk/status.js";
import { isIcmp, type Numbers, protocolNumber, type Rule } from "./rules.js";

export type Direction = "request" | "reply";
export const directions: readonly Direction[] = ["request", "reply"];

/** Drop reasons besides the rules' own. */
const dropCounter = { noRule: "no_rule", fragment: "fragment", notIp: "not_ip" } as const;
export type DropReason = keyof typeof dropCounter;
export const dropReasons = Object.keys(dropCounter) as DropReason[];

/** Flows that nobody has used for so long are forgotten. */
const flowTimeout = "5m";

/** Hashed, because an id comes from the wire; the same after a restart, so that tables are found again. */
export function tableName(connectionId: string): string {
  return `${tablePrefix}${digest(connectionId)}`;
}
export const tablePrefix = "weft-";

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** Named by the rule's name, so that counting goes on when rules are reordered; hashed, because a name may hold anything. */
export function ruleCounter(direction: Direction, rule: Pick<Rule, "name">): string {
  return `${direction}_rule_${digest(rule.name)}`;
}

export function reasonCounter(direction: Direction, reason: DropReason): string {
  return `${direction}_${dropCounter[reason]}`;
}

/**
 * A table that passes frames between two interfaces, with its rules.
 * @throws INVALID_ARGUMENT an interface name cannot be written in a script
 */
export function createTable(table: string, clientInterface: string, networkInterface: string, rules: readonly Rule[]): string {
  const client = quoteInterface(clientInterface);
  const network = quoteInterface(networkInterface);
  return lines([
    `add table netdev ${table}`,
    `add set netdev ${table} flows4 { typeof ip saddr . ip daddr . meta l4proto . th sport . th dport; ${setOptions} }`,
    `add set netdev ${table} flows6 { typeof ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport; ${setOptions} }`,
    `add set netdev ${table} pings4 { typeof ip saddr . ip daddr . icmp id; ${setOptions} }`,
    `add set netdev ${table} pings6 { typeof ip6 saddr . ip6 daddr . icmpv6 id; ${setOptions} }`,
    `add set netdev ${table} others4 { typeof ip saddr . ip daddr . meta l4proto; ${setOptions} }`,
    `add set netdev ${table} others6 { typeof ip6 saddr . ip6 daddr . meta l4proto; ${setOptions} }`,
    `add chain netdev ${table} request`,
    `add chain netdev ${table} reply`,
    ...directionRules(table, "request", rules),
    ...directionRules(table, "reply", rules),
    `add chain netdev ${table} from_client { type filter hook ingress device ${client} priority 0; policy drop; }`,
    `add chain netdev ${table} from_network { type filter hook ingress device ${network} priority 0; policy drop; }`,
    `add rule netdev ${table} from_client jump request`,
    `add rule netdev ${table} from_client fwd to ${network}`,
    `add rule netdev ${table} from_network jump reply`,
    `add rule netdev ${table} from_network fwd to ${client}`,
  ]);
}

/**
 * Other rules for a table that exists. Flows that have been remembered stay; counters of rules that keep their name go on.
 * @param before  the rules it has now
 */
export function replaceRules(table: string, before: readonly Rule[], after: readonly Rule[]): string {
  const names = new Set(after.map(({ name }) => name));
  const gone = before.filter(({ name }) => !names.has(name));
  return lines([
    `flush chain netdev ${table} request`,
    `flush chain netdev ${table} reply`,
    ...directionRules(table, "request", after),
    ...directionRules(table, "reply", after),
    ...gone.flatMap((rule) => directions.map((way) => `delete counter netdev ${table} ${ruleCounter(way, rule)}`)),
  ]);
}

/** It need not exist. */
export function deleteTable(table: string): string {
  return lines([`add table netdev ${table}`, `delete table netdev ${table}`]);
}

const setOptions = `flags dynamic,timeout; timeout ${flowTimeout}; size 65535;`;

function directionRules(table: string, direction: Direction, rules: readonly Rule[]): string[] {
  if (rules.length === 0) return [];
  const add = `add rule netdev ${table} ${direction}`;
  const reason = (why: DropReason): string => `counter name ${reasonCounter(direction, why)} drop`;
  const counters = [
    ...rules.map((rule) => ruleCounter(direction, rule)),
    ...dropReasons.map((why) => reasonCounter(direction, why)),
  ];
  return [
    ...counters.map((name) => `add counter netdev ${table} ${name}`),
    // Without these two nothing else could be delivered: they carry no data of the workloads.
    `${add} ether type arp return`,
    `${add} icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } return`,
    `${add} ether type != { ip, ip6 } ${reason("notIp")}`,
    ...rules.flatMap((rule) => statements(rule, direction).map((text) => `${add} ${text}`)),
    `${add} ip frag-off & 0x1fff != 0 ${reason("fragment")}`,
    `${add} ${reason("noRule")}`,
  ];
}

/** One rule in one direction; several statements where each IP version needs its own. */
function statements(rule: Rule, direction: Direction): string[] {
  const counter = ruleCounter(direction, rule);
  if (rule.verdict !== "reflect") {
    const end = `counter name ${counter} ${rule.verdict === "permit" ? "return" : "drop"}`;
    return [`${conditions(rule, direction)} ${end}`.trim()];
  }
  const families = rule.family === undefined ? ([4, 6] as const) : [rule.family];
  return families.map((family) => {
    const fit = { ...rule, family };
    const flow = flowOf(fit);
    return direction === "request"
      ? `${conditions(fit, direction)} update @${flow.set} { ${flow.answer} } counter name ${counter} return`
      : `${version(family)} ${flow.guard} ${flow.key} @${flow.set} counter name ${counter} return`;
  });
}

/** Where a flow is remembered, and its key in the request (as the answer will show it) and in the answer. */
function flowOf({ family, protocol }: Rule): { set: string; guard: string; key: string; answer: string } {
  const ip = family === 6 ? "ip6" : "ip";
  const addresses = { key: `${ip} saddr . ${ip} daddr`, answer: `${ip} daddr . ${ip} saddr` };
  if (isIcmp(protocol)) {
    const icmp = family === 6 ? "icmpv6" : "icmp";
    return {
      set: `pings${family}`,
      guard: `meta l4proto ${protocol} ${icmp} type echo-reply`,
      key: `${addresses.key} . ${icmp} id`,
      answer: `${addresses.answer} . ${icmp} id`,
    };
  }
  const { tcp, udp } = protocolNumber;
  if (protocol === tcp || protocol === udp) {
    return {
      set: `flows${family}`,
      guard: `meta l4proto ${protocol}`,
      key: `${addresses.key} . meta l4proto . th sport . th dport`,
      answer: `${addresses.answer} . meta l4proto . th dport . th sport`,
    };
  }
  return {
    set: `others${family}`,
    guard: protocol === undefined ? "" : `meta l4proto ${protocol}`,
    key: `${addresses.key} . meta l4proto`,
    answer: `${addresses.answer} . meta l4proto`,
  };
}

function conditions(rule: Rule, direction: Direction): string {
  const forward = direction === "request";
  const ip = rule.family === 6 ? "ip6" : "ip";
  const icmp = rule.protocol === protocolNumber.icmpv6 ? "icmpv6" : "icmp";
  return [
    rule.family === undefined ? "" : version(rule.family),
    prefix(`${ip} ${forward ? "saddr" : "daddr"}`, rule.source),
    prefix(`${ip} ${forward ? "daddr" : "saddr"}`, rule.destination),
    rule.protocol === undefined ? "" : `meta l4proto ${rule.protocol}`,
    numbers(`th ${forward ? "sport" : "dport"}`, rule.sourcePorts),
    numbers(`th ${forward ? "dport" : "sport"}`, rule.destinationPorts),
    numbers(`${icmp} type`, rule.icmpTypes),
    numbers(`${icmp} code`, rule.icmpCodes),
    rule.tcpFlags === undefined ? "" : `tcp flags & ${rule.tcpFlags.mask} == ${rule.tcpFlags.value}`,
  ]
    .filter((text) => text !== "")
    .join(" ");
}

function version(family: 4 | 6): string {
  return family === 4 ? "meta protocol ip" : "meta protocol ip6";
}

function prefix(key: string, value: Prefix | undefined): string {
  return value === undefined || value.length === 0 ? "" : `${key} ${formatAddress(value)}/${value.length}`;
}

function numbers(key: string, range: Numbers | undefined): string {
  return range === undefined ? "" : `${key} ${range.first}${range.last === range.first ? "" : `-${range.last}`}`;
}

/**
 * nft has no escapes in quoted names.
 * @throws INVALID_ARGUMENT
 */
export function checkFilterInterface(name: string): void {
  if (!/^[A-Za-z0-9_.@+-]{1,15}$/.test(name)) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `interface name ${JSON.stringify(name)} is not one a firewall can use; use letters, digits and _ . @ + -`,
    );
  }
}

function quoteInterface(name: string): string {
  checkFilterInterface(name);
  return `"${name}"`;
}

function lines(list: readonly string[]): string {
  return `${list.map((line) => line.trimEnd()).join("\n")}\n`;
}
