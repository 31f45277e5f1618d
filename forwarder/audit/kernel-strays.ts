/**
 * Routes, policy rules and neighbours on the interfaces of living connections that bear Weft's protocol number and of which the ledger
 * says nothing: what an interrupted change has left. What the workload, or anybody else, has put there bears none and is nobody's business.
 */
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { formatAddress, formatPrefix } from "../../sdk/linux/netlink/ip-address.js";
import { getLink, type Link } from "../../sdk/linux/netlink/links.js";
import { deleteNeighbor, listNeighbors } from "../../sdk/linux/netlink/neighbors.js";
import { deleteRoute, listRoutes, type Route, weftProtocol } from "../../sdk/linux/netlink/routes.js";
import { deleteRule, type Rule } from "../../sdk/linux/netlink/rules.js";
import type { NetlinkRequest, NetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { hasErrno } from "../../sdk/linux/system-error.js";
import type { Built, BuiltLink } from "../dataplane/kernel/built.js";
import { exactRuleKey, wantedRoutes, wantedRules } from "../dataplane/kernel/configure.js";
import { withPlaces } from "../dataplane/kernel/places.js";
import { planOf } from "../dataplane/kernel/plan.js";
import type { Noted, Seen } from "./audit.js";
import { linkKey } from "./keys.js";

const families = [AF_INET, AF_INET6] as const;

/** What the ledger wants on the interfaces of one cross-connect; it may be absent: the workload may take it away. */
export function notedOn({ crossConnect, links }: Built, owner: string): Noted[] {
  const plans = planOf(crossConnect).links;
  return links.flatMap((link) => {
    const plan = plans.find(({ role }) => role === link.role);
    if (plan === undefined || plan.policies.some(({ key }) => !link.tables.some((table) => table.key === key))) return [];
    const note = (key: string, kind: string, name: string): Noted => {
      return { key, kind, name, netns: link.netnsUrl, owner, certain: false };
    };
    const on = keyOfBuilt(link);
    return [
      ...wantedRoutes(0, plan, link).map((route) => note(routeKeyOn(on, route), "route", formatPrefix(route.prefix))),
      ...plan.neighbors.map(({ address, macAddress }) =>
        note(neighborKeyOn(on, address.bytes, macAddress), "neighbor", formatAddress(address)),
      ),
      ...wantedRules(plan, link).map((rule) => note(ruleKeyIn(link, rule), "rule", ruleName(rule))),
    ];
  });
}

export interface LivingLink {
  readonly netnsUrl: string;
  readonly netns: { readonly dev: bigint; readonly ino: bigint };
  readonly socket: NetlinkSocket;
  readonly link: Link;
  readonly owner: string;
}

/** What bears our number on an interface that a ledger knows; nothing when the interface has just gone. */
export function seenOn(living: LivingLink): Seen[] {
  try {
    return lyingOn(living);
  } catch (error) {
    if (hasErrno(error, "ENODEV")) return [];
    throw error;
  }
}

function lyingOn({ netnsUrl, netns, socket, link, owner }: LivingLink): Seen[] {
  const on = linkKey(netns.dev, netns.ino, link);
  const seen = (kind: string, key: string, name: string, instance: string, request: NetlinkRequest): Seen => ({
    key,
    instance,
    kind,
    name: `${name} dev ${link.name}`,
    netns: netnsUrl,
    owner,
    reclaim: async () => takeAway(netnsUrl, link, request),
    detail: "its ledger says nothing of it, though of the interface",
  });
  const routes = families
    .flatMap((family) => listRoutes(socket, family, link.index))
    .filter(({ protocol }) => protocol === weftProtocol)
    .map((route) => seen("route", routeKeyOn(on, route), routeName(route), `${link.index} ${route.metric}`, deleteRoute(route)));
  const neighbors = listNeighbors(socket, link.index)
    .filter(({ protocol }) => protocol === weftProtocol)
    .map(({ address, macAddress }) =>
      seen(
        "neighbor",
        neighborKeyOn(on, address.bytes, macAddress),
        formatAddress(address),
        String(link.index),
        deleteNeighbor(link.index, address),
      ),
    );
  return [...routes, ...neighbors];
}

/** A rule that leads into a table of the ledger, and that the ledger does not want: beside the one that it does. */
export function seenRule({ netnsUrl, netns }: Pick<LivingLink, "netnsUrl" | "netns">, rule: Rule, owner: string): Seen {
  return {
    key: ruleKeyIn(netns, rule),
    instance: "",
    kind: "rule",
    name: ruleName(rule),
    netns: netnsUrl,
    owner,
    reclaim: async () => withPlaces(undefined, (places) => void places.open(netnsUrl).socket.perform([deleteRule(rule)])),
    detail: "its table is in the ledger, with other rules",
  };
}

/** If it is still the same interface. */
function takeAway(netnsUrl: string, link: Link, request: NetlinkRequest): Promise<void> {
  return withPlaces(undefined, async (places) => {
    const { socket } = places.open(netnsUrl);
    const now = getLink(socket, link.index);
    if (now === undefined) return;
    if (now.macAddress !== link.macAddress || now.group !== link.group) throw new Error("another interface has its number now");
    socket.perform([request]);
  });
}

function keyOfBuilt({ dev, ino, macAddress, name, tun }: BuiltLink): string {
  return linkKey(dev, ino, { macAddress, alias: tun?.alias ?? "", name });
}

/** Without the metric, which may differ from the plan's where a prefix has a route of somebody else. */
function routeKeyOn(on: string, { table, prefix, gateway }: Route): string {
  return `route ${on} ${table} ${formatPrefix(prefix)} ${gateway === undefined ? "" : formatAddress(gateway)}`;
}

function neighborKeyOn(on: string, address: Uint8Array, macAddress: string): string {
  return `neighbor ${on} ${[...address].join(".")} ${macAddress}`;
}

function ruleKeyIn({ dev, ino }: { readonly dev: bigint | string; readonly ino: bigint | string }, rule: Rule): string {
  return `exact rule ${dev}/${ino} ${exactRuleKey(rule)}`;
}

function routeName({ prefix, gateway, table }: Route): string {
  return `${formatPrefix(prefix)}${gateway === undefined ? "" : ` via ${formatAddress(gateway)}`} table ${table}`;
}

function ruleName({ priority, table }: Rule): string {
  return `${priority}: lookup ${table}`;
}
