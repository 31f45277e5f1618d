/**
 * After a restart: what the book says against what the kernel has. Interrupted work is taken back, what lives is adopted,
 * what is orphaned or expired is taken away. Packets of adopted cross-connects are not touched.
 */
import type { Log } from "../../../sdk/telemetry/log.js";
import type { CrossConnect, OwnedObject } from "../dataplane.js";
import type { Book, BookEntry } from "./book.js";
import { type Built, type BuiltLink, isParkedName, objectsOf, sameNamespace } from "./built.js";
import type { PingGroups } from "./ping-groups.js";
import { findExactLink, findLink, findLinkByNumber, withPlaces } from "./places.js";
import { planOf } from "./plan.js";
import { demolish, isOwnDevice, unparkLink, updateWire, type Workshop } from "./wire.js";

export interface Recovered {
  readonly adopted: readonly Built[];
  readonly reclaimed: readonly OwnedObject[];
  readonly lost: readonly CrossConnect[];
}

/** Bounds the descriptors in use at a time. */
const maxParallel = 64;

export interface RecoverOptions extends Omit<Workshop, "places"> {
  readonly book: Book;
  readonly log: Log;
  readonly pings: PingGroups;
  readonly nowMs: number;
}

export async function recoverAll({ book, log, pings, nowMs, ...shop }: RecoverOptions): Promise<Recovered> {
  const { entries, unreadable } = book.load();
  for (const what of unreadable) log.warn("ledger entry is not readable and was put aside", { what });
  const adopted: Built[] = [];
  const reclaimed: OwnedObject[] = [];
  const lost: CrossConnect[] = [];
  const noted: BuiltLink[] = [];
  const waiting = [...entries];
  const work = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [id, entry] = next;
      try {
        const result = await withPlaces(shop, async (places) => {
          const one = await recoverOne({ ...shop, places }, book, entry, nowMs);
          if (one.adopted !== undefined) pings.settle(id, one.adopted.links, places);
          return one;
        });
        if (result.adopted !== undefined) adopted.push(result.adopted);
        else lost.push(...[entry.committed ?? entry.begun].flatMap((built) => built?.crossConnect ?? []));
        for (const each of [entry.committed, entry.begun]) noted.push(...(each?.links ?? []), ...(each?.leftovers ?? []));
        reclaimed.push(...result.reclaimed);
      } catch (error) {
        // It stays in the book for the next start.
        log.error("cross-connect could not be recovered", { connectionId: id, error });
      }
    }
  };
  await Promise.all(Array.from({ length: maxParallel }, work));
  await withPlaces(shop, (places) => pings.reclaim(noted, places));
  return { adopted, reclaimed, lost };
}

async function recoverOne(
  shop: Workshop,
  book: Book,
  { committed, begun }: BookEntry,
  nowMs: number,
): Promise<{ adopted: Built | undefined; reclaimed: readonly OwnedObject[] }> {
  const entry = committed ?? begun;
  if (entry === undefined) return { adopted: undefined, reclaimed: [] };
  const { id, expiresAtMs } = entry.crossConnect;
  if (committed === undefined) {
    await demolish(shop, [...entry.links, ...entry.leftovers], { rules: true, renamed: false });
    book.remove(id);
    return { adopted: undefined, reclaimed: objectsOf(entry) };
  }
  if (begun !== undefined) await takeBack(shop, begun, committed);
  if (committed.leftovers.length > 0) await demolish(shop, committed.leftovers, { rules: true, renamed: false });
  const built: Built = { ...committed, leftovers: [] };
  if (expiresAtMs > nowMs && built.links.every((link) => lives(shop, link) || changedLives(shop, link, begun))) {
    if (begun !== undefined) await updateWire(shop, planOf(built.crossConnect), built, begun, planOf(begun.crossConnect));
    if (begun !== undefined) book.abandon(id);
    if (committed.leftovers.length > 0) book.update(built);
    return { adopted: built, reclaimed: [] };
  }
  if (begun !== undefined) await demolish(shop, begun.links, { rules: true, renamed: false });
  await demolish(shop, built.links, { rules: true, renamed: true });
  book.remove(id);
  return { adopted: undefined, reclaimed: objectsOf(built) };
}

/** Removes what an interrupted change had made beside the old and gives what stood aside its name again. */
async function takeBack(shop: Workshop, begun: Built, committed: Built): Promise<void> {
  const parked = begun.leftovers.filter((link) => {
    const place = isParkedName(link.name) ? shop.places.find(link) : undefined;
    return place !== undefined && findExactLink(place, link) !== undefined;
  });
  // A replacement notes what it replaces; any other change works on the old interfaces themselves.
  const replaced = begun.leftovers.length > 0;
  const isOld = (link: BuiltLink): boolean =>
    committed.links.some((old) => sameNamespace(old, link) && (replaced ? old.name === link.name : old.role === link.role)) &&
    !parked.some((aside) => sameNamespace(aside, link) && aside.macAddress === link.macAddress);
  const made = begun.links.filter((link) => !isOld(link));
  await demolish(shop, made, { rules: true, renamed: false });
  for (const aside of parked) {
    const name = committed.links.find(({ role }) => role === aside.role)?.name;
    if (name !== undefined) unparkLink(shop, aside, name);
  }
}

/** Whether it lives with the name or hardware address that an interrupted update gave it. */
function changedLives(shop: Workshop, link: BuiltLink, begun: Built | undefined): boolean {
  const changed = begun?.links.find((other) => other.role === link.role && sameNamespace(other, link));
  return changed !== undefined && lives(shop, changed);
}

/** An interface of its name and alias is not enough for a tunnel: another connection of the same client has those as well. */
function lives(shop: Workshop, link: BuiltLink): boolean {
  const here = findLinkByNumber(shop.own, link);
  const place = here === undefined ? shop.places.find(link) : undefined;
  const found = here ?? (place && findLink(place, link));
  return found !== undefined && isOwnDevice(link, found);
}
