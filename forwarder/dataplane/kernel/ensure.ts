/**
 * Brings the world from one built cross-connect to the next, all or nothing, with every step noted in the book before it is done:
 *   new      note → make → commit                       failure: take away
 *   update   note → change in place → commit            failure: change back
 *   replace  note → old one aside → make → commit → old one away   failure: new one away, old one back
 */

import { namespaceId } from "../../../sdk/linux/netlink/namespace-ids.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import { Code, isStatusError } from "../../../sdk/status.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { CrossConnect } from "../dataplane.js";
import { announceBuilt } from "./announce.js";
import type { Book } from "./book.js";
import { type Built, type BuiltLink, buildLink, linkOf, type OwnedTable, parkedName, sameNamespace } from "./built.js";
import { freeTables } from "./configure.js";
import { withCarried } from "./counters.js";
import type { PingGroups } from "./ping-groups.js";
import type { Place } from "./places.js";
import { type Plan, planOf } from "./plan.js";
import { settle } from "./settle.js";
import { refuseTakenName } from "./tunnel-device.js";
import { chooseTuns, type TunnelBackend } from "./tuns.js";
import { demolish, type Existing, findUpdatable, makeWire, parkLink, unparkLink, updateWire, type Workshop } from "./wire.js";

export interface Job {
  readonly shop: Workshop;
  readonly book: Book;
  readonly log: Log;
  readonly pings: PingGroups;
  /** What is being made now: its tables are chosen, though the kernel may not have them yet. */
  readonly underWay: Set<Built>;
}

/**
 * @param before  what is there now
 * @returns what is there afterwards
 * @throws whatever refused it; what `before` says is then still (or again) there
 */
export async function bringAbout(job: Job, crossConnect: CrossConnect, before: Built | undefined): Promise<Built> {
  const plan = planOf(crossConnect);
  const backend = plan.kind === "wireguard" ? await job.shop.tunnelBackend() : "program";
  const built = choose(job, { plan, crossConnect, before, backend });
  job.underWay.add(built);
  try {
    if (await change(job, plan, built, before)) {
      await settle(job.shop.places, plan, built);
      announce(job, plan, built);
    }
  } finally {
    job.underWay.delete(built);
  }
  return built;
}

/** Neighbours that do not hear of it find out by themselves, only later: no reason to refuse. */
function announce({ shop, log }: Job, plan: Plan, built: Built): void {
  try {
    announceBuilt(shop.places, plan, built);
  } catch (error) {
    log.debug("could not tell the neighbours", { connectionId: built.crossConnect.id, error });
  }
}

/** Whether anything in the kernel has been changed. */
async function change(job: Job, plan: Plan, built: Built, before: Built | undefined): Promise<boolean> {
  if (before !== undefined) {
    const planBefore = planOf(before.crossConnect);
    const existing = findUpdatable(job.shop, plan, built, before, planBefore);
    if (existing !== undefined) return await update(job, plan, built, before, planBefore, existing);
    if (sharesTunnel(plan, planBefore)) await makeAgain(job, plan, built, before, planBefore);
    else await replace(job, plan, built, before);
  } else await makeNew(job, plan, built);
  return true;
}

/** Opens the namespaces (so a missing one is refused before anything is touched) and fills in what the plan leaves open. */
function choose({ shop, pings, underWay }: Job, { plan, crossConnect, before, backend }: Choice): Built {
  const tuns = chooseTuns(plan, before && { built: before, plan: planOf(before.crossConnect) }, backend);
  const maker = { connectionId: crossConnect.id, group: shop.group, tuns };
  const links = plan.links.map((link) => {
    const earlier = before && linkOf(before, link.role);
    const place = openOrFind(shop, link.netnsUrl, earlier);
    const ask = {
      number: () => (place.netns.ino === shop.home.ino ? undefined : namespaceId(shop.own, place.netns)),
      freeTables: (count: number) => freeTables(place.socket, count, tablesUnderWay(underWay, place.netns)),
      pingGroups: () => pings.claim(crossConnect.id, place, link.netnsUrl),
    };
    return withCarried(place, buildLink(link, place.netns, earlier, ask, maker), earlier);
  });
  return { crossConnect, links, leftovers: [] };
}

/** By its name; when that leads nowhere, where the link of that name was made: its descriptor may not have come again. */
function openOrFind({ places }: Workshop, netnsUrl: string, earlier: BuiltLink | undefined): Place {
  try {
    return places.open(netnsUrl);
  } catch (error) {
    const known =
      earlier?.netnsUrl === netnsUrl && isStatusError(error) && error.code === Code.NOT_FOUND ? places.find(earlier) : undefined;
    if (known === undefined) throw error;
    return known;
  }
}

interface Choice {
  readonly plan: Plan;
  readonly crossConnect: CrossConnect;
  readonly before: Built | undefined;
  /** What makes a tunnel that is new. */
  readonly backend: TunnelBackend;
}

async function makeNew({ shop, book, log, pings }: Job, plan: Plan, built: Built): Promise<void> {
  const { id } = built.crossConnect;
  // Before there is anything to take away: what has the name may look like ours (tunnel-device.ts).
  if (plan.kind === "wireguard") for (const link of plan.links) refuseTakenName(shop.places.open(link.netnsUrl), link.name);
  book.begin(built);
  try {
    await makeWire(shop, plan, built);
    book.commit(id);
  } catch (error) {
    await attempt(log, id, "take away what was half made", () => demolish(shop, built.links, { rules: true, renamed: false }));
    pings.settle(id, [], shop.places);
    book.abandon(id);
    throw error;
  }
}

async function update(
  { shop, book, log }: Job,
  plan: Plan,
  built: Built,
  before: Built,
  planBefore: Plan,
  existing: Existing,
): Promise<boolean> {
  const { id } = built.crossConnect;
  if (samePorts(built, before)) {
    // A refresh: the same again, so nothing can be left half made.
    const changed = await updateWire(shop, plan, built, before, planBefore, existing);
    book.updateSoon(built);
    return changed;
  }
  book.begin(built);
  try {
    const changed = await updateWire(shop, plan, built, before, planBefore, existing);
    book.commit(id);
    return changed;
  } catch (error) {
    await attempt(log, id, "take back the update", () => updateWire(shop, planBefore, before, built, plan));
    book.abandon(id);
    throw error;
  }
}

async function replace({ shop, book, log, pings }: Job, plan: Plan, built: Built, before: Built): Promise<void> {
  const { id } = built.crossConnect;
  const leftovers = before.links.map((link) => {
    const inTheWay = built.links.some((other) => other.name === link.name && sameNamespace(other, link));
    return { ...link, name: inTheWay ? parkedName() : link.name, tables: tablesBut(link, built) };
  });
  const planBefore = planOf(before.crossConnect);
  const putBack = async (): Promise<void> => {
    before.links.forEach((link, index) => {
      const parked = leftovers[index];
      if (parked !== undefined && parked.name !== link.name) unparkLink(shop, parked, link.name);
    });
    const existing = findUpdatable(shop, planBefore, before, before, planBefore);
    if (existing !== undefined) await updateWire(shop, planBefore, before, built, plan, existing);
  };
  book.begin({ ...built, leftovers });
  let parked = false;
  try {
    before.links.forEach((link, index) => {
      const name = leftovers[index]?.name;
      if (name !== undefined && name !== link.name) parkLink(shop, link, name);
    });
    parked = true;
    await makeWire(shop, plan, built);
    book.commit(id);
  } catch (error) {
    const halfMade = built.links.map((link) => ({ ...link, tables: tablesBut(link, before) }));
    if (parked)
      await attempt(log, id, "take away what was half made", () => demolish(shop, halfMade, { rules: true, renamed: false }));
    await attempt(log, id, "put back what was there", putBack);
    pings.settle(id, before.links, shop.places);
    book.abandon(id);
    throw error;
  }
  await attempt(log, id, "delete the interfaces of before", async () => {
    await demolish(shop, leftovers, { rules: true, renamed: false });
    pings.settle(id, built.links, shop.places);
    book.update(built);
  });
}

/** The same VNI or UDP port in another place: the two cannot exist at one time. */
async function makeAgain(
  { shop, book, log, pings }: Job,
  plan: Plan,
  built: Built,
  before: Built,
  planBefore: Plan,
): Promise<void> {
  const { id } = built.crossConnect;
  book.begin(built);
  try {
    const old = before.links.map((link) => ({ ...link, tables: tablesBut(link, built) }));
    await demolish(shop, old, { rules: true, renamed: true });
    await makeWire(shop, plan, built);
    pings.settle(id, built.links, shop.places);
    book.commit(id);
  } catch (error) {
    await attempt(log, id, "take away what was half made", () => demolish(shop, built.links, { rules: true, renamed: false }));
    await attempt(log, id, "put back what was there", () => makeWire(shop, planBefore, before));
    pings.settle(id, before.links, shop.places);
    book.abandon(id);
    throw error;
  }
}

function tablesUnderWay(underWay: Iterable<Built>, { dev, ino }: NetnsHandle): Set<number> {
  const links = [...underWay].flatMap((built) => built.links);
  const here = links.filter((link) => link.ino === String(ino) && link.dev === String(dev));
  return new Set(here.flatMap(({ tables }) => tables.map(({ table }) => table)));
}

/** The tables of a link that `others` does not use in the same namespace. */
function tablesBut(link: BuiltLink, others: Built): readonly OwnedTable[] {
  const kept = new Set(
    others.links.filter((other) => sameNamespace(other, link)).flatMap(({ tables }) => tables.map(({ table }) => table)),
  );
  return link.tables.filter(({ table }) => !kept.has(table));
}

function sharesTunnel(plan: Plan, before: Plan): boolean {
  if (plan.kind === "wireguard" && before.kind === "wireguard") return true;
  if (plan.kind !== "vxlan" || before.kind !== "vxlan") return false;
  return plan.tunnel.vni === before.tunnel.vni && plan.tunnel.udpPort === before.tunnel.udpPort;
}

/** Whether they differ only in what the kernel does not see. */
function samePorts(one: Built, other: Built): boolean {
  const seen = ({ crossConnect: { client, endpoint, mtuBytes, payload }, links }: Built): string =>
    JSON.stringify([client, endpoint, mtuBytes, payload, links]);
  return seen(one) === seen(other);
}

/** Clean-up that must not hide the error it cleans up after. */
async function attempt(log: Log, id: string, what: string, action: () => unknown): Promise<void> {
  try {
    await action();
  } catch (error) {
    log.warn(`could not ${what}`, { connectionId: id, error });
  }
}
