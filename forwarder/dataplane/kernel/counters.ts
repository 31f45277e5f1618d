/** What has gone through a connection: the counters of its interfaces, and of those that stood in their places before. */
import type { LinkStatistics } from "../../../sdk/linux/netlink/link-statistics.js";
import { getLink } from "../../../sdk/linux/netlink/links.js";
import { getLinkByNumber } from "../../../sdk/linux/netns-by-number.js";
import type { Counters } from "../dataplane.js";
import { type Built, type BuiltLink, counterNames } from "./built.js";
import { findLink, findLinkByNumber, type Home, type Place, type Places, withPlaces } from "./places.js";
import { planOf } from "./plan.js";
import { findBeside } from "./tunnel.js";
import { retiredTuns } from "./tuns.js";

/** "rx" is towards the client, whichever side the interface that counts is on. */
export async function countersOf(from: Home, built: Built | undefined): Promise<Counters | undefined> {
  const link = built?.links[0];
  if (built === undefined || link === undefined) return undefined;
  const counted = lookByNumber(from, link) ?? (await withPlaces(from, (places) => lookInside(places, link)));
  if (counted === undefined || planOf(built.crossConnect).links[0]?.role === "client") return counted;
  const { rxBytes, txBytes, rxPackets, txPackets, drops } = counted;
  return { rxBytes: txBytes, txBytes: rxBytes, rxPackets: txPackets, txPackets: rxPackets, drops };
}

function lookByNumber({ own }: Home, link: BuiltLink): LinkStatistics | undefined {
  const found = findLinkByNumber(own, link)?.statistics;
  if (found === undefined) return undefined;
  const { number, beside } = link;
  const second = number === undefined || beside === undefined ? undefined : getLinkByNumber(own, number, beside.device);
  return sum([found, second?.statistics, carriedBy(link)]);
}

function lookInside(places: Places, link: BuiltLink): LinkStatistics | undefined {
  const place = places.find(link);
  const index = place && findLink(place, link)?.index;
  const found = place && index && getLink(place.socket, index)?.statistics;
  return place && found ? sum([found, findBeside(place, link.beside)?.statistics, carriedBy(link)]) : undefined;
}

/** The link with what it will have counted when the tunnels that it loses are gone. */
export function withCarried(place: Place, wanted: BuiltLink, before: BuiltLink | undefined): BuiltLink {
  const retired = retiredTuns(before, wanted);
  if (before === undefined || retired.length === 0) return wanted;
  const lost = retired.map((tun) => {
    const link = findBeside(place, tun) ?? (tun.device === before.tun?.device ? findLink(place, before) : undefined);
    return link && getLink(place.socket, link.index)?.statistics;
  });
  const { rxBytes, txBytes, rxPackets, txPackets, drops } = sum([carriedBy(before), ...lost]);
  const carried = { rxBytes, txBytes, rxPackets, txPackets, drops };
  const texts = counterNames.map((name) => [name, String(carried[name])] as const);
  return { ...wanted, carried: Object.fromEntries(texts) as NonNullable<BuiltLink["carried"]> };
}

function carriedBy({ carried }: BuiltLink): LinkStatistics | undefined {
  if (carried === undefined) return undefined;
  const { rxBytes, txBytes, rxPackets, txPackets, drops } = carried;
  return {
    rxBytes: BigInt(rxBytes),
    txBytes: BigInt(txBytes),
    rxPackets: BigInt(rxPackets),
    txPackets: BigInt(txPackets),
    drops: BigInt(drops),
  };
}

function sum(all: readonly (LinkStatistics | undefined)[]): LinkStatistics {
  const total = { rxBytes: 0n, txBytes: 0n, rxPackets: 0n, txPackets: 0n, drops: 0n };
  for (const each of all) for (const name of counterNames) total[name] += each?.[name] ?? 0n;
  return total;
}
