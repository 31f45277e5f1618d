/**
 * Makes what lies on one interface equal to its plan: properties, addresses, routes, neighbours, policy rules.
 * Reads what is there and changes only the difference, so it is the same for a new interface, an update and a repair.
 */
import { writeFileSync } from "node:fs";
import { AF_INET, AF_INET6 } from "../../../sdk/linux/libc.js";
import { addAddress, deleteAddress, listAddresses } from "../../../sdk/linux/netlink/addresses.js";
import { type Family, formatAddress, formatPrefix, type IpPrefix } from "../../../sdk/linux/netlink/ip-address.js";
import { type Link, type LinkChange, setLink } from "../../../sdk/linux/netlink/links.js";
import { deleteNeighbor, listNeighbors, setNeighbor } from "../../../sdk/linux/netlink/neighbors.js";
import { addRoute, deleteRoute, listRoutes, mainTable, type Route, weftProtocol } from "../../../sdk/linux/netlink/routes.js";
import { addRule, deleteRule, listRules, type Rule } from "../../../sdk/linux/netlink/rules.js";
import type { NetlinkRequest, NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { withNetns } from "../../../sdk/linux/netns.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import type { BuiltLink, OwnedTable } from "./built.js";
import type { Place } from "./places.js";
import { type LinkPlan, type PlannedPolicy, type PlannedRoute, routeKey } from "./plan.js";

/** "fresh": just made, with its name, hardware address and MTU, and nothing on it. */
export type LinkAge = "fresh" | "existing";

const families: readonly Family[] = [AF_INET, AF_INET6];
const globalScope = 0;
/** Before the rule of the main table (32766) and after what an administrator writes by hand near 0. */
const rulePriority = 20_000;
/** Preferred to the kernel's 1024 and router advertisements; counted down when taken, so that the newest route is preferred. */
const ipv6Metric = 1023;
const ipv6MetricTries = 64;

/**
 * @param tablesBefore  tables whose rules may be there already and are to go when the plan lacks them
 * @throws SystemError of the first refusal
 */
export function configureLink(
  place: Place,
  link: Link,
  plan: LinkPlan,
  built: BuiltLink,
  age: LinkAge,
  tablesBefore: readonly OwnedTable[],
): void {
  const { socket } = place;
  socket.perform(linkChanges(link, plan, built));
  const addresses = age === "fresh" ? [] : listAddresses(socket, link.index).filter(({ scope }) => scope === globalScope);
  const missing = without(
    plan.addresses,
    addresses.map(({ prefix }) => prefix),
    formatPrefix,
  );
  addAddresses(place, link.index, built.name, missing);
  const stale = without(
    addresses.map(({ prefix }) => prefix),
    plan.addresses,
    formatPrefix,
  );
  socket.perform(stale.map((prefix) => deleteAddress(link.index, prefix)));
  // With an IPv4 address the kernel deletes its secondary ones in the same network.
  if (stale.length > 0) addAddresses(place, link.index, built.name, plan.addresses);

  const routesThere = age === "fresh" ? [] : families.flatMap((family) => listRoutes(socket, family, link.index)).filter(isOurs);
  const wanted = wantedRoutes(link.index, plan, built);
  const rules = wantedRules(plan, built);
  const rulesThere = age === "fresh" && tablesBefore.length === 0 ? [] : listOwnRules(socket, [...built.tables, ...tablesBefore]);

  const first = socket.attempt([
    ...without(wanted, routesThere, placedRouteKey).map((route) => addRoute(route, "exclusive")),
    ...plan.neighbors.map(({ address, macAddress }) => setNeighbor(link.index, address, macAddress)),
    ...without(rules, rulesThere, ruleKey).map(addRule),
  ]);
  const refused = without(wanted, routesThere, placedRouteKey).filter((_, index) => hasErrno(first[index]?.error, "EEXIST"));
  for (const { error } of first) if (error !== undefined && !hasErrno(error, "EEXIST")) throw error;
  for (const route of refused) addBeside(socket, route);

  socket.perform([
    ...without(rulesThere, rules, ruleKey).map(deleteRule),
    ...without(routesThere, wanted, placedRouteKey).map(deleteRoute),
    ...(age === "fresh" ? [] : staleNeighbors(socket, link.index, plan)),
  ]);
}

/** Takes away the rules of these tables; their routes go with the interface. */
export function removeRules(socket: NetlinkSocket, tables: readonly OwnedTable[]): void {
  if (tables.length > 0) socket.perform(listOwnRules(socket, tables).map(deleteRule));
}

/** Routing tables that nothing in the namespace uses. */
export function freeTables(socket: NetlinkSocket, count: number): number[] {
  if (count === 0) return [];
  const taken = new Set<number>();
  for (const family of families) {
    for (const { table } of listRules(socket, family)) taken.add(table);
    for (const { table } of listRoutes(socket, family)) taken.add(table);
  }
  const free: number[] = [];
  for (let table = firstOwnTable; free.length < count; table++) if (!taken.has(table)) free.push(table);
  return free;
}
/** Beyond the 8-bit ids that people use by hand. */
const firstOwnTable = 5_000;

function linkChanges(link: Link, plan: LinkPlan, built: BuiltLink): NetlinkRequest[] {
  const change: LinkChange = {
    ...(link.name === built.name ? {} : { name: built.name }),
    ...(link.alias === plan.alias ? {} : { alias: plan.alias }),
    ...(link.macAddress === built.macAddress ? {} : { macAddress: built.macAddress }),
    ...(link.mtuBytes === plan.mtuBytes ? {} : { mtuBytes: plan.mtuBytes }),
    ...(link.up ? {} : { up: true }),
  };
  return Object.keys(change).length === 0 ? [] : [setLink(link.index, change)];
}

function addAddresses({ netns, socket }: Place, index: number, name: string, prefixes: readonly IpPrefix[]): void {
  const answers = socket.attempt(prefixes.map((prefix) => addAddress(index, prefix)));
  const refused = prefixes.filter((_, position) => hasErrno(answers[position]?.error, "EACCES"));
  for (const { error } of answers) if (error !== undefined && !hasErrno(error, "EACCES")) throw error;
  if (refused.length === 0) return;
  // IPv6 is switched off for new interfaces of this namespace, as container runtimes do.
  withNetns(netns, () => writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "0"));
  socket.perform(refused.map((prefix) => addAddress(index, prefix)));
}

/**
 * The prefix has a route of somebody else. Ours is preferred while it is there, and theirs stays:
 * in IPv4 by standing before it, in IPv6, where equal metrics would share the traffic, by a smaller metric.
 */
function addBeside(socket: NetlinkSocket, route: Route): void {
  if (route.prefix.family === AF_INET) {
    socket.perform([{ ...addRoute(route, "before-others"), tolerate: ["EEXIST"] }]);
    return;
  }
  for (let metric = route.metric - 1; ; metric--) {
    const error = socket.attempt([addRoute({ ...route, metric }, "exclusive")])[0]?.error;
    if (error === undefined) return;
    if (!hasErrno(error, "EEXIST") || metric <= route.metric - ipv6MetricTries) throw error;
  }
}

function wantedRoutes(linkIndex: number, plan: LinkPlan, built: BuiltLink): Route[] {
  const inTable = (table: number) => (route: PlannedRoute) => ({
    ...route,
    linkIndex,
    table,
    protocol: weftProtocol,
    metric: route.prefix.family === AF_INET6 ? ipv6Metric : 0,
  });
  return [
    ...plan.routes.map(inTable(mainTable)),
    ...plan.policies.flatMap((policy) => policy.routes.map(inTable(tableOf(built, policy)))),
  ];
}

function wantedRules(plan: LinkPlan, built: BuiltLink): Rule[] {
  return plan.policies.map((policy) => ({
    family: policy.family,
    priority: rulePriority + policy.position,
    from: policy.from,
    ipProtocol: policy.ipProtocol,
    sourcePorts: policy.sourcePorts,
    destinationPorts: policy.destinationPorts,
    table: tableOf(built, policy),
    protocol: weftProtocol,
  }));
}

function tableOf(built: BuiltLink, policy: PlannedPolicy): number {
  const owned = built.tables.find(({ key }) => key === policy.key);
  if (owned === undefined) throw new Error(`no table for policy ${policy.key}`);
  return owned.table;
}

function listOwnRules(socket: NetlinkSocket, tables: readonly OwnedTable[]): Rule[] {
  if (tables.length === 0) return [];
  const ids = new Set(tables.map(({ table }) => table));
  return families.flatMap((family) => listRules(socket, family)).filter((rule) => ids.has(rule.table) && isOurs(rule));
}

function staleNeighbors(socket: NetlinkSocket, index: number, plan: LinkPlan): NetlinkRequest[] {
  const wanted = new Set(plan.neighbors.map(({ address }) => formatAddress(address)));
  return listNeighbors(socket, index)
    .filter(({ permanent, address }) => permanent && !wanted.has(formatAddress(address)))
    .map(({ address }) => deleteNeighbor(index, address));
}

function isOurs({ protocol }: { readonly protocol: number }): boolean {
  return protocol === weftProtocol;
}

/** Metrics may differ from the plan's (see addBeside). */
function placedRouteKey(route: Route): string {
  return `${route.table} ${routeKey(route)}`;
}

function ruleKey(rule: Rule): string {
  const { from, sourcePorts, destinationPorts } = rule;
  const ports = [sourcePorts, destinationPorts].map((range) => range && `${range.first}-${range.last}`);
  return JSON.stringify([rule.family, rule.priority, from && formatPrefix(from), rule.ipProtocol, ...ports, rule.table]);
}

function without<T>(values: readonly T[], others: readonly T[], key: (value: T) => string): T[] {
  const keys = new Set(others.map(key));
  return values.filter((value) => !keys.has(key(value)));
}
