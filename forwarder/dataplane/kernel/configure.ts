/**
 * Makes what lies on one interface equal to its plan: properties, addresses, routes, neighbours, policy rules.
 * Reads what is there and changes only the difference, so it is the same for a new interface, an update and a repair.
 */
import { writeFileSync } from "node:fs";
import { AF_INET, AF_INET6 } from "../../../sdk/linux/libc.js";
import { addAddress, deleteAddress, type LinkAddress, listAddresses } from "../../../sdk/linux/netlink/addresses.js";
import {
  type Family,
  formatAddress,
  formatPrefix,
  type IpAddress,
  type IpPrefix,
} from "../../../sdk/linux/netlink/ip-address.js";
import { type Link, type LinkChange, setLink } from "../../../sdk/linux/netlink/links.js";
import { deleteNeighbor, listNeighbors, type Neighbor, setNeighbor } from "../../../sdk/linux/netlink/neighbors.js";
import {
  addRoute,
  deleteRoute,
  isTableEmpty,
  listRoutes,
  mainTable,
  type Route,
  weftProtocol,
} from "../../../sdk/linux/netlink/routes.js";
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
export const ipv6Metric = 1023;
const ipv6MetricTries = 64;

/**
 * @param tablesBefore  tables whose rules may be there already and are to go when the plan lacks them
 * @returns whether anything had to be changed
 * @throws SystemError of the first refusal
 */
export function configureLink(
  place: Place,
  link: Link,
  plan: LinkPlan,
  built: BuiltLink,
  age: LinkAge,
  tablesBefore: readonly OwnedTable[],
): boolean {
  const { socket } = place;
  const fresh = age === "fresh";
  const there = fresh ? [] : listAddresses(socket, link.index).filter(({ scope }) => scope === globalScope);
  const addresses = changeAddresses(link.index, plan, there);
  const rulesThere = fresh && tablesBefore.length === 0 ? [] : listOwnRules(socket, [...built.tables, ...tablesBefore]);
  const neighborsThere = fresh ? [] : listNeighbors(socket, link.index).filter(({ permanent }) => permanent);
  const neighbors = changeNeighbors(link.index, plan, neighborsThere);
  const first: Step[] = [...linkChanges(link, plan, built), ...addresses.add];
  if (fresh) return perform(place, built.name, [...first, ...additions(link.index, plan, built, [], rulesThere, neighbors)]);

  // Deleting an address may take routes and other addresses of the same network along: look at the routes afterwards.
  const changed = perform(place, built.name, [...first, ...addresses.remove]);
  const again = addresses.remove.length > 0 && perform(place, built.name, addresses.all);
  const routesThere = families.flatMap((family) => listRoutes(socket, family, link.index)).filter(isOurs);
  const added = perform(place, built.name, additions(link.index, plan, built, routesThere, rulesThere, neighbors));
  const wanted = wantedRoutes(link.index, plan, built);
  const stale: Step[] = [
    ...without(rulesThere, wantedRules(plan, built), exactRuleKey).map((rule) => ({ request: deleteRule(rule) })),
    ...without(routesThere, wanted, placedRouteKey).map((route) => ({ request: deleteRoute(route) })),
    ...neighbors.stale.map((request) => ({ request })),
  ];
  return perform(place, built.name, stale) || added || again || changed;
}

/** A request with what to do when the kernel refuses it in a way that is known. */
interface Step {
  readonly request: NetlinkRequest;
  readonly address?: IpPrefix;
  readonly route?: Route;
}

/** All in one batch; whether there was anything to do. */
function perform({ netns, socket }: Place, name: string, steps: readonly Step[]): boolean {
  if (steps.length === 0) return false;
  const answers = socket.attempt(steps.map(({ request }) => request));
  const again: NetlinkRequest[] = [];
  steps.forEach(({ request, address, route }, index) => {
    const error = answers[index]?.error;
    if (error === undefined) return;
    if (address !== undefined && hasErrno(error, "EACCES")) {
      // IPv6 is switched off for new interfaces of this namespace, as container runtimes do.
      withNetns(netns, () => writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "0"));
      again.push(request);
    } else if (route !== undefined && hasErrno(error, "EEXIST")) addBeside(socket, route);
    // IPv6 routes through the interface wait for its first IPv6 address to be accepted.
    else if (again.length > 0) again.push(request);
    else throw error;
  });
  socket.perform(again);
  return true;
}

function changeAddresses(
  index: number,
  plan: LinkPlan,
  there: readonly LinkAddress[],
): { add: Step[]; remove: Step[]; all: Step[] } {
  const prefixes = there.map(({ prefix }) => prefix);
  const add = (address: IpPrefix): Step => ({ request: addAddress(index, address), address });
  return {
    add: without(plan.addresses, prefixes, formatPrefix).map(add),
    remove: without(prefixes, plan.addresses, formatPrefix).map((prefix) => ({ request: deleteAddress(index, prefix) })),
    all: plan.addresses.map(add),
  };
}

function additions(
  index: number,
  plan: LinkPlan,
  built: BuiltLink,
  routesThere: readonly Route[],
  rulesThere: readonly Rule[],
  neighbors: NeighborChanges,
): Step[] {
  return [
    ...without(wantedRoutes(index, plan, built), routesThere, placedRouteKey).map((route) => ({
      request: addRoute(route, "exclusive"),
      route,
    })),
    ...neighbors.set.map((request) => ({ request })),
    ...without(wantedRules(plan, built), rulesThere, exactRuleKey).map((rule) => ({ request: addRule(rule) })),
  ];
}

/** Takes away the rules of these tables; their routes go with the interface. */
export function removeRules(socket: NetlinkSocket, tables: readonly OwnedTable[]): void {
  if (tables.length > 0) socket.perform(listOwnRules(socket, tables).map(deleteRule));
}

/** Routing tables that nothing in the namespace uses, and that are not reserved. */
export function freeTables(socket: NetlinkSocket, count: number, reserved: ReadonlySet<number>): number[] {
  if (count === 0) return [];
  const ruled = new Set(families.flatMap((family) => listRules(socket, family)).map(({ table }) => table));
  const free: number[] = [];
  for (let table = firstOwnTable; free.length < count; table++) {
    if (
      !ruled.has(table) &&
      !reserved.has(table) &&
      !kernelTables.has(table) &&
      families.every((family) => isTableEmpty(socket, family, table))
    )
      free.push(table);
  }
  return free;
}
/** Upward from the first, as operators know them from NSM's own forwarder. */
const firstOwnTable = 1;
/** default, main and local (ip-route(8)); others' even when empty. */
const kernelTables: ReadonlySet<number> = new Set([253, 254, 255]);

function linkChanges(link: Link, plan: LinkPlan, built: BuiltLink): Step[] {
  const change: LinkChange = {
    ...(link.name === built.name ? {} : { name: built.name }),
    ...(link.alias === plan.alias ? {} : { alias: plan.alias }),
    ...(link.macAddress === built.macAddress ? {} : { macAddress: built.macAddress }),
    ...(link.mtuBytes === plan.mtuBytes ? {} : { mtuBytes: plan.mtuBytes }),
    ...(link.group === built.group ? {} : { group: built.group }),
    ...(link.up ? {} : { up: true }),
  };
  return Object.keys(change).length === 0 ? [] : [{ request: setLink(link.index, change) }];
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

/** @throws Error a policy of the plan has no table yet */
export function wantedRoutes(linkIndex: number, plan: LinkPlan, built: BuiltLink): Route[] {
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

/** @throws Error a policy of the plan has no table yet */
export function wantedRules(plan: LinkPlan, built: BuiltLink): Rule[] {
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

interface NeighborChanges {
  readonly set: readonly NetlinkRequest[];
  readonly stale: readonly NetlinkRequest[];
}

function changeNeighbors(index: number, plan: LinkPlan, there: readonly Neighbor[]): NeighborChanges {
  const key = ({ address, macAddress }: { address: IpAddress; macAddress: string }): string =>
    `${formatAddress(address)} ${macAddress}`;
  const known = new Set(there.map(key));
  const wanted = new Set(plan.neighbors.map(({ address }) => formatAddress(address)));
  return {
    set: plan.neighbors
      .filter((neighbor) => !known.has(key(neighbor)))
      .map(({ address, macAddress }) => setNeighbor(index, address, macAddress)),
    stale: there
      .filter(({ address }) => !wanted.has(formatAddress(address)))
      .map(({ address }) => deleteNeighbor(index, address)),
  };
}

function isOurs({ protocol }: { readonly protocol: number }): boolean {
  return protocol === weftProtocol;
}

/** Metrics may differ from the plan's (see addBeside). */
function placedRouteKey(route: Route): string {
  return `${route.table} ${routeKey(route)}`;
}

/** Equal for rules that do the same. */
export function exactRuleKey(rule: Rule): string {
  const { from, sourcePorts, destinationPorts } = rule;
  const ports = [sourcePorts, destinationPorts].map((range) => range && `${range.first}-${range.last}`);
  return JSON.stringify([rule.family, rule.priority, from && formatPrefix(from), rule.ipProtocol, ...ports, rule.table]);
}

function without<T>(values: readonly T[], others: readonly T[], key: (value: T) => string): T[] {
  const keys = new Set(others.map(key));
  return values.filter((value) => !keys.has(key(value)));
}
