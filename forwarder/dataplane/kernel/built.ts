/**
 * What has been made in the kernel for one cross-connect: enough to find it again and to take it away, also after a restart.
 */
import { randomBytes } from "node:crypto";
import type { Family } from "../../../sdk/linux/netlink/ip-address.js";
import { formatAddress, formatPrefix } from "../../../sdk/linux/netlink/ip-address.js";
import { macFrom } from "../../../sdk/linux/netlink/mac-address.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import { uapiSocketPath } from "../../../sdk/linux/wireguard-go.js";
import type { CrossConnect, OwnedObject } from "../dataplane.js";
import { type LinkPlan, type Plan, planOf, type Role } from "./plan.js";

export interface Built {
  readonly crossConnect: CrossConnect;
  readonly links: readonly BuiltLink[];
  /** Interfaces of an earlier form that stood aside under another name while this one was made; to be deleted. */
  readonly leftovers: readonly BuiltLink[];
}

/**
 * An interface that is ours: it has this hardware address under this name in this namespace; a TUN interface, which has
 * no hardware address, its alias.
 */
export interface BuiltLink {
  readonly role: Role;
  readonly netnsUrl: string;
  /** Device and inode of the namespace, decimal: an URL with a process id may mean another one later. */
  readonly dev: string;
  readonly ino: string;
  /** The number under which the forwarder's own namespace knows it; it leads there when no path does. */
  readonly number?: number;
  readonly name: string;
  readonly macAddress: string;
  /** Of an interface of WireGuard. */
  readonly tun?: Tun;
  /** A second one in the same namespace, under the name of its device and with nothing on it: it only receives. */
  readonly beside?: Tun;
  /** What interfaces have counted that stood in the place of this one before; decimal. */
  readonly carried?: Readonly<Record<CounterName, string>>;
  /** The mark of our ledger (mark.ts); 0 in entries of a version that set none. */
  readonly group: number;
  /** Routing tables of its policies, in this namespace. */
  readonly tables: readonly OwnedTable[];
  /** What ping-groups.ts found in this namespace; undefined: it has changed nothing there. */
  readonly pingGroups?: string | undefined;
}

/** An interface of WireGuard, which has no hardware address to know it by. */
export interface Tun {
  /** Random; the name under which it was made. The process is started with it. */
  readonly device: string;
  /** Marks it as ours. */
  readonly alias: string;
  /** Whose it is; absent: that of a wireguard-go process. */
  readonly backend?: "kernel";
}

export const counterNames = ["rxBytes", "txBytes", "rxPackets", "txPackets", "drops"] as const;
export type CounterName = (typeof counterNames)[number];

export interface OwnedTable {
  /** Key of the policy. */
  readonly key: string;
  readonly family: Family;
  readonly table: number;
}

/** What only the namespace itself can say. */
export interface AskNamespace {
  /** Undefined: it is the forwarder's own. */
  number(): number | undefined;
  /** Ids of routing tables that nothing uses there. */
  freeTables(count: number): readonly number[];
  pingGroups(): string | undefined;
}

/** Who makes it. */
export interface Maker {
  readonly connectionId: string;
  readonly group: number;
  readonly tuns: Pick<BuiltLink, "tun" | "beside">;
}

/**
 * Chooses what the plan leaves open and keeps what was chosen before. A hardware address comes from the connection, so that it
 * is the same when the connection is made again.
 */
export function buildLink(
  plan: LinkPlan,
  netns: Pick<NetnsHandle, "dev" | "ino">,
  before: BuiltLink | undefined,
  ask: AskNamespace,
  maker: Maker,
): BuiltLink {
  const samePlace = before !== undefined && before.dev === String(netns.dev) && before.ino === String(netns.ino);
  const kept = new Map(samePlace ? before.tables.map((table) => [table.key, table] as const) : []);
  const isTun = plan.medium === "tun";
  const number = samePlace && before.number !== undefined ? before.number : ask.number();
  const added = ask.freeTables(plan.policies.filter(({ key }) => !kept.has(key)).length)[Symbol.iterator]();
  return {
    role: plan.role,
    netnsUrl: plan.netnsUrl,
    dev: String(netns.dev),
    ino: String(netns.ino),
    ...(number === undefined ? {} : { number }),
    name: plan.name,
    macAddress: isTun ? "" : plan.macAddress || before?.macAddress || macFrom(`${maker.connectionId}/${plan.role}`),
    group: maker.group,
    ...maker.tuns,
    ...(isTun && before?.carried !== undefined ? { carried: before.carried } : {}),
    tables: plan.policies.map(({ key, family }) => kept.get(key) ?? { key, family, table: added.next().value ?? 0 }),
    pingGroups: samePlace ? before.pingGroups : ask.pingGroups(),
  };
}

/** The name under which an interface stands aside while its successor is made. */
export function parkedName(): string {
  return `${parkedPrefix}${randomBytes(4).toString("hex")}`;
}

export function isParkedName(name: string): boolean {
  return name.startsWith(parkedPrefix);
}

const parkedPrefix = "wtold-";

export function linkOf(built: Built, role: Role): BuiltLink | undefined {
  return built.links.find((link) => link.role === role);
}

export function sameNamespace(one: Pick<BuiltLink, "dev" | "ino">, other: Pick<BuiltLink, "dev" | "ino">): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

/** Everything it owns, for inspection. */
export function objectsOf(built: Built): OwnedObject[] {
  const connectionId = built.crossConnect.id;
  const plan: Plan = planOf(built.crossConnect);
  const objects: OwnedObject[] = [];
  for (const link of built.links) {
    const own = plan.links.find(({ role }) => role === link.role);
    const add = (kind: string, name: string): void => void objects.push({ kind, name, netnsUrl: link.netnsUrl, connectionId });
    add("link", link.name);
    for (const prefix of own?.addresses ?? []) add("address", `${formatPrefix(prefix)} dev ${link.name}`);
    for (const { prefix, gateway } of own?.routes ?? []) {
      add("route", `${formatPrefix(prefix)}${gateway ? ` via ${formatAddress(gateway)}` : ""} dev ${link.name}`);
    }
    for (const { address, macAddress } of own?.neighbors ?? [])
      add("neighbor", `${formatAddress(address)} ${macAddress} dev ${link.name}`);
    if (link.beside !== undefined) add("link", link.beside.device);
    for (const tun of [link.tun, link.beside]) {
      if (tun === undefined || tun.backend === "kernel") continue;
      add("process", `wireguard-go -f ${tun.device}`);
      add("socket", uapiSocketPath(tun.device));
    }
    for (const { table, key } of link.tables) {
      add("rule", `${key} lookup ${table}`);
      add("table", String(table));
    }
  }
  if (plan.kind === "vxlan")
    objects.push({ kind: "vni", name: `${plan.tunnel.vni} port ${plan.tunnel.udpPort}`, netnsUrl: "", connectionId });
  for (const tunnel of plan.kind === "wireguard" ? [plan.tunnel, plan.tunnel.beside] : [])
    if (tunnel !== undefined) objects.push({ kind: "udp-port", name: String(tunnel.listenPort), netnsUrl: "", connectionId });
  return objects;
}
