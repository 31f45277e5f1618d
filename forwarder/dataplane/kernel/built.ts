/**
 * What has been made in the kernel for one cross-connect: enough to find it again and to take it away, also after a restart.
 */
import { randomBytes } from "node:crypto";
import type { Family } from "../../../sdk/linux/netlink/ip-address.js";
import { formatAddress, formatPrefix } from "../../../sdk/linux/netlink/ip-address.js";
import { randomMac } from "../../../sdk/linux/netlink/mac-address.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import { newDeviceName, uapiSocketPath } from "../../../sdk/linux/wireguard-go.js";
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
  readonly name: string;
  readonly macAddress: string;
  /** Of a TUN interface: the device name that its process was started with, and the alias that marks it as ours. */
  readonly tun?: { readonly device: string; readonly alias: string };
  /** Routing tables of its policies, in this namespace. */
  readonly tables: readonly OwnedTable[];
  /** What ping-groups.ts found in this namespace; undefined: it has changed nothing there. */
  readonly pingGroups?: string | undefined;
}

export interface OwnedTable {
  /** Key of the policy. */
  readonly key: string;
  readonly family: Family;
  readonly table: number;
}

/** What only the namespace itself can say. */
export interface AskNamespace {
  /** Ids of routing tables that nothing uses there. */
  freeTables(count: number): readonly number[];
  pingGroups(): string | undefined;
}

/** Chooses what the plan leaves open and keeps what was chosen before. */
export function buildLink(
  plan: LinkPlan,
  netns: Pick<NetnsHandle, "dev" | "ino">,
  before: BuiltLink | undefined,
  ask: AskNamespace,
): BuiltLink {
  const samePlace = before !== undefined && before.dev === String(netns.dev) && before.ino === String(netns.ino);
  const kept = new Map(samePlace ? before.tables.map((table) => [table.key, table] as const) : []);
  const isTun = plan.medium === "tun";
  const added = ask.freeTables(plan.policies.filter(({ key }) => !kept.has(key)).length)[Symbol.iterator]();
  return {
    role: plan.role,
    netnsUrl: plan.netnsUrl,
    dev: String(netns.dev),
    ino: String(netns.ino),
    name: plan.name,
    macAddress: isTun ? "" : plan.macAddress || before?.macAddress || randomMac(),
    ...(isTun ? { tun: { device: before?.tun?.device ?? newDeviceName(), alias: plan.alias } } : {}),
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
    if (link.tun !== undefined) {
      add("process", `wireguard-go -f ${link.tun.device}`);
      add("socket", uapiSocketPath(link.tun.device));
    }
    for (const { table, key } of link.tables) {
      add("rule", `${key} lookup ${table}`);
      add("table", String(table));
    }
  }
  if (plan.kind === "vxlan")
    objects.push({ kind: "vni", name: `${plan.tunnel.vni} port ${plan.tunnel.udpPort}`, netnsUrl: "", connectionId });
  if (plan.kind === "wireguard")
    objects.push({ kind: "udp-port", name: String(plan.tunnel.listenPort), netnsUrl: "", connectionId });
  return objects;
}
