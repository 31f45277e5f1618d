/**
 * Makes, changes and takes away the interfaces that join two ports. Everything here is one operation on open namespaces.
 */
import {
  createVeth,
  createVxlan,
  getLink,
  type Link,
  retargetVxlan,
  setLink,
  type VethEnd,
} from "../../../sdk/linux/netlink/links.js";
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import { Code, statusError } from "../../../sdk/status.js";
import { type Built, type BuiltLink, linkOf, sameNamespace } from "./built.js";
import { configureLink, removeRules } from "./configure.js";
import { openPingGroups } from "./ping-groups.js";
import { findExactLink, findLink, type Place, type Places } from "./places.js";
import type { LinkPlan, Plan, Role } from "./plan.js";
import type { Reaper } from "./reaper.js";
import { endRetired, findBeside, makeTunnel, updateTunnel } from "./tunnel.js";
import { endTunnels, isMoved } from "./tunnel-device.js";
import type { TunnelBackend } from "./tuns.js";

/** What an operation works with. */
export interface Workshop {
  readonly places: Places;
  /** The forwarder's own namespace, where tunnels end. */
  readonly home: NetnsHandle;
  /** A routing socket in it. */
  readonly own: NetlinkSocket;
  readonly reaper: Reaper;
  /** What makes new tunnels for payload IP. */
  readonly tunnelBackend: () => Promise<TunnelBackend>;
  /** What marks an interface as one of our ledger (mark.ts). */
  readonly group: number;
  /** Environment of processes that are started. */
  readonly processEnv: Readonly<Record<string, string>>;
}

/**
 * Makes the interfaces of a plan, which must not exist, and everything on them. On failure the caller calls `demolish`.
 * @throws SystemError; ALREADY_EXISTS naming what is taken
 */
export async function makeWire(shop: Workshop, plan: Plan, built: Built): Promise<void> {
  if (plan.kind === "nothing") return;
  if (plan.kind === "wireguard") return await makeTunnel(shop, plan, built);
  const ends = plan.links.map((link) => endOf(shop, link, builtFor(built, link)));
  const [first, second] = ends;
  if (first === undefined) return;
  try {
    if (plan.kind === "vxlan") shop.own.perform([createVxlan({ ...first.end, ...plan.tunnel })]);
    else if (second !== undefined) first.place.socket.perform([createVeth(first.end, second.end)]);
  } catch (error) {
    throw takenBy(error, plan, ends);
  }
  for (const { place, built } of ends) openPingGroups(place, built);
  const link = freshLink(first);
  if (second !== undefined) configureLink(second.place, peerOf(link, second), second.plan, second.built, "fresh", []);
  configureLink(first.place, link, first.plan, first.built, "fresh", []);
}

/**
 * Makes interfaces that exist equal to their plan. Called with the plan of before it takes an update back.
 * @param before  what was built until now: rules of its tables that the plan lacks are removed
 * @param planBefore  the plan it was built by
 * @returns whether anything had to be changed
 * @throws SystemError; NOT_FOUND when an interface has vanished meanwhile
 */
export async function updateWire(
  shop: Workshop,
  plan: Plan,
  built: Built,
  before: Built,
  planBefore: Plan,
  existing: Existing = new Map(),
): Promise<boolean> {
  let changed = false;
  for (const link of plan.links) {
    const wanted = builtFor(built, link);
    const earlier = linkOf(before, link.role);
    const place = shop.places.find(wanted);
    const found = existing.get(link.role) ?? (place && (findLink(place, earlier ?? wanted) ?? findLink(place, wanted)));
    if (place === undefined || found === undefined) {
      throw statusError(Code.NOT_FOUND, `interface ${wanted.name} in ${wanted.netnsUrl} has vanished; ask again`);
    }
    if (found.name !== wanted.name) renameLink(place, found, wanted.name);
    changed ||= found.name !== wanted.name;
    const current = found.name === wanted.name ? found : (getLink(place.socket, found.index) ?? found);
    if (plan.kind === "vxlan" && !sameTarget(plan, planBefore)) place.socket.perform([retargetVxlan(current.index, plan.tunnel)]);
    if (plan.kind !== "wireguard") {
      changed = configureLink(place, current, link, wanted, "existing", earlier?.tables ?? []) || changed;
      continue;
    }
    const tunnel = await updateTunnel(shop, { plan, planBefore, wanted, earlier }, place, current);
    changed = configureLink(place, tunnel.main, link, wanted, "existing", earlier?.tables ?? []) || tunnel.changed || changed;
    await endRetired(shop, place, earlier, wanted);
  }
  return changed;
}

function sameTarget(plan: Plan & { kind: "vxlan" }, before: Plan): boolean {
  if (before.kind !== "vxlan") return false;
  const { localAddress, remoteAddress } = plan.tunnel;
  return localAddress === before.tunnel.localAddress && remoteAddress === before.tunnel.remoteAddress;
}

/** Interfaces that were looked up a moment ago. */
export type Existing = ReadonlyMap<Role, Link>;

/** The interfaces of `built`, if they can become those of the plan without being made anew. */
export function findUpdatable(shop: Workshop, plan: Plan, planned: Built, built: Built, planBefore: Plan): Existing | undefined {
  if (plan.kind !== planBefore.kind || planned.links.length !== built.links.length) return undefined;
  if (plan.kind === "vxlan" && planBefore.kind === "vxlan" && !canRetarget(plan, planBefore)) return undefined;
  const existing = new Map<Role, Link>();
  for (const link of planned.links) {
    const before = linkOf(built, link.role);
    const place = before && sameNamespace(link, before) ? shop.places.find(before) : undefined;
    const found = place && before && findLink(place, before);
    if (found === undefined) return undefined;
    existing.set(link.role, found);
  }
  return existing;
}

/** The kernel changes the addresses of a VXLAN interface, but neither its VNI nor its port nor their family. */
function canRetarget({ tunnel: now }: Plan & { kind: "vxlan" }, { tunnel: then }: Plan & { kind: "vxlan" }): boolean {
  return (
    now.vni === then.vni && now.udpPort === then.udpPort && now.localAddress.includes(":") === then.localAddress.includes(":")
  );
}

/** Gives an interface that must make room another name; it goes on carrying packets. Undefined: it does not exist. */
export function parkLink(shop: Workshop, link: BuiltLink, name: string): BuiltLink | undefined {
  const place = shop.places.find(link);
  const found = place && findLink(place, link);
  if (place === undefined || found === undefined) return undefined;
  renameLink(place, found, name);
  return { ...link, name };
}

/** Undoes `parkLink`. */
export function unparkLink(shop: Workshop, parked: BuiltLink, name: string): void {
  const place = shop.places.find(parked);
  const found = place && getLink(place.socket, parked.name);
  if (place !== undefined && found !== undefined) renameLink(place, found, name);
}

/**
 * Takes away what is ours of these links, whatever of it exists.
 * @param what.rules  also the policy rules of their tables
 * @param what.renamed  also interfaces that somebody has given another name
 */
export async function demolish(
  shop: Workshop,
  links: readonly BuiltLink[],
  what: { rules: boolean; renamed: boolean },
): Promise<void> {
  const doomed = lookUp(shop, links, what.renamed);
  await endTunnels(shop, links);
  const deletions: Promise<void>[] = [];
  for (const { link, place, found } of doomed) {
    if (what.rules) removeRules(place.socket, link.tables);
    const beside = findBeside(place, link.beside);
    if (beside !== undefined) deletions.push(shop.reaper.deleteLink(place.netns, beside.index));
    // One end of a veth takes the other along.
    if (found !== undefined && !(found.kind === "veth" && deletions.length > 0)) {
      deletions.push(shop.reaper.deleteLink(place.netns, found.index));
    }
  }
  await Promise.all(deletions);
}

interface Doomed {
  readonly link: BuiltLink;
  readonly place: Place;
  readonly found: Link | undefined;
}

/** Where these links are. The endpoint's namespace first: many clients share it, so their interfaces are deleted as one group. */
function lookUp(shop: Workshop, links: readonly BuiltLink[], renamed: boolean): Doomed[] {
  const doomed: Doomed[] = [];
  const gone = new Set<BuiltLink>();
  const unreached: BuiltLink[] = [];
  const look = (link: BuiltLink, place: Place): void => {
    const there = renamed ? findLink(place, link) : findExactLink(place, link);
    if (there !== undefined || renamed || findLink(place, link) === undefined) gone.add(link);
    doomed.push({ link, place, found: there !== undefined && isOwnDevice(link, there) ? there : undefined });
  };
  for (const link of [...links].reverse()) {
    const place = shop.places.findByPath(link);
    if (place === undefined) unreached.push(link);
    else look(link, place);
  }
  for (const link of unreached) {
    const place = goesWithOther(links, link, gone) ? undefined : shop.places.find(link);
    if (place !== undefined) look(link, place);
  }
  return doomed;
}

/** Whether it is one end of a veth pair, with nothing on it that stays, and the other end goes or has gone: then so has this one. */
function goesWithOther(links: readonly BuiltLink[], link: BuiltLink, gone: ReadonlySet<BuiltLink>): boolean {
  const isPlain = link.tun === undefined && link.beside === undefined && link.tables.length === 0;
  const [other, ...more] = links.filter((each) => each !== link);
  return isPlain && other !== undefined && more.length === 0 && gone.has(other);
}

/** Whether a found interface is that of the link's own device, as far as it is a tunnel's. */
export function isOwnDevice({ tun }: BuiltLink, { name }: Link): boolean {
  return tun === undefined || isMoved(tun, name);
}

interface End {
  readonly place: Place;
  readonly plan: LinkPlan;
  readonly built: BuiltLink;
  readonly end: VethEnd;
}

function endOf(shop: Workshop, plan: LinkPlan, built: BuiltLink): End {
  const place = shop.places.open(plan.netnsUrl);
  return {
    place,
    plan,
    built,
    end: { netns: place.netns, name: built.name, macAddress: built.macAddress, mtuBytes: plan.mtuBytes },
  };
}

function builtFor(built: Built, plan: LinkPlan): BuiltLink {
  const link = linkOf(built, plan.role);
  if (link === undefined) throw new Error(`no ${plan.role} link was planned`);
  return link;
}

function freshLink({ place, built }: End): Link {
  const link = getLink(place.socket, built.name, "without-statistics");
  if (link === undefined)
    throw statusError(Code.NOT_FOUND, `interface ${built.name} vanished while it was being made; ask again`);
  return link;
}

/** What the other end of a new pair looks like, without asking. */
function peerOf(link: Link, { plan, built }: End): Link {
  const index = link.peerIndex;
  if (index === undefined)
    throw statusError(Code.NOT_FOUND, `interface ${built.name} vanished while it was being made; ask again`);
  return { ...link, index, name: built.name, macAddress: built.macAddress, mtuBytes: plan.mtuBytes, peerIndex: link.index };
}

function renameLink({ socket }: Place, link: Link, name: string): void {
  try {
    socket.perform([setLink(link.index, { name })]);
  } catch (error) {
    // Kernels before 6.2 rename only what is down; what lies on it is restored by the update that follows.
    if (!hasErrno(error, "EBUSY")) throw renameRefusal(error, name);
    socket.perform([setLink(link.index, { up: false })]);
    socket.perform([setLink(link.index, { name, up: true })]);
  }
}

function renameRefusal(error: unknown, name: string): unknown {
  if (!hasErrno(error, "EEXIST")) return error;
  return statusError(Code.ALREADY_EXISTS, `an interface named ${name} exists and is not ours; choose another name`, error);
}

/** EEXIST on creation does not say what exists: look. */
function takenBy(error: unknown, plan: Plan, ends: readonly End[]): unknown {
  if (!hasErrno(error, "EEXIST")) return error;
  for (const { place, built } of ends) {
    if (getLink(place.socket, built.name) === undefined) continue;
    return statusError(
      Code.ALREADY_EXISTS,
      `create ${plan.kind}: EEXIST: an interface named ${built.name} exists in ${built.netnsUrl} and is not ours; choose another name`,
      error,
    );
  }
  if (plan.kind !== "vxlan") return error;
  const { vni, udpPort } = plan.tunnel;
  return statusError(
    Code.ALREADY_EXISTS,
    `create vxlan vni=${vni} port=${udpPort}: EEXIST: the VNI is in use on this node; choose another`,
    error,
  );
}
