/**
 * Waits for what the kernel does in workers of its own after an interface has been made. A packet that comes before is lost,
 * and the next try to resolve its address is a second later; so a connection is handed out only when both have happened:
 *   the carrier is switched through (at once when asked for the link, since Linux 6.13; else within milliseconds)
 *   the interface listens to neighbour solicitations for its IPv6 addresses
 */
import { setTimeout as delay } from "node:timers/promises";
import { AF_INET6 } from "../../../sdk/linux/libc.js";
import { listMulticastGroups, solicitedNodeGroup } from "../../../sdk/linux/netlink/addresses.js";
import { formatAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { getLink, type Link } from "../../../sdk/linux/netlink/links.js";
import type { Built } from "./built.js";
import type { Place, Places } from "./places.js";
import type { LinkPlan, Plan } from "./plan.js";

const maxTries = 100;
const tryAgainMs = 2;

/** Returns after at most a fifth of a second: a link without carrier is for the health watch to tell. */
export async function settle(places: Places, plan: Plan, built: Built): Promise<void> {
  const waiting = new Set(plan.links);
  for (let tries = 0; tries < maxTries; tries++) {
    for (const link of waiting) {
      const made = built.links.find(({ role }) => role === link.role);
      const place = made && places.find(made);
      const found = place && getLink(place.socket, made.name, "without-statistics");
      if (place === undefined || found === undefined || (isOperational(found) && hearsSolicitations(place, found, link)))
        waiting.delete(link);
    }
    if (waiting.size === 0) return;
    await delay(tryAgainMs);
  }
}

function isOperational({ operational, carrier }: Link): boolean {
  return operational || !carrier;
}

function hearsSolicitations({ socket }: Place, { index }: Link, { addresses, medium }: LinkPlan): boolean {
  const wanted = addresses
    .filter(({ family }) => family === AF_INET6)
    .map((address) => formatAddress(solicitedNodeGroup(address)));
  // A TUN interface asks nobody and is asked by nobody.
  if (wanted.length === 0 || medium === "tun") return true;
  const groups = new Set(listMulticastGroups(socket, index).map(formatAddress));
  return wanted.every((group) => groups.has(group));
}
