/**
 * Waits for what the kernel does in workers of its own after an interface has been made. A packet that comes before is lost,
 * and the next try to resolve its address is a second later; so a connection is handed out only when both have happened:
 *   the carrier is switched through (at once when asked for the link, since Linux 6.13; else within milliseconds)
 *   the interface takes in packets for its IPv6 addresses (half a second later where processors and workers are busy)
 */
import { setTimeout as delay } from "node:timers/promises";
import { AF_INET6 } from "../../../sdk/linux/libc.js";
import { formatAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { getLink, type Link } from "../../../sdk/linux/netlink/links.js";
import { listTakenAddresses } from "../../../sdk/linux/netlink/routes.js";
import type { Built } from "./built.js";
import type { Place, Places } from "./places.js";
import type { LinkPlan, Plan } from "./plan.js";

const maxWaitMs = 2_000;
/** Asked again rather than listened for: that would need one more socket in each namespace, and seldom anything is to wait for. */
const tryAgainMs = 2;

/** Returns after two seconds at the latest: a link that does not come up is for the health watch to tell. */
export async function settle(places: Places, plan: Plan, built: Built): Promise<void> {
  const waiting = new Set(plan.links);
  const beganMs = performance.now();
  for (;;) {
    for (const link of waiting) {
      const made = built.links.find(({ role }) => role === link.role);
      const place = made && places.find(made);
      const found = place && getLink(place.socket, made.name, "without-statistics");
      if (place === undefined || found === undefined || (isOperational(found) && takesPackets(place, found, link)))
        waiting.delete(link);
    }
    if (waiting.size === 0 || performance.now() - beganMs > maxWaitMs) return;
    await delay(tryAgainMs);
  }
}

function isOperational({ operational, carrier }: Link): boolean {
  return operational || !carrier;
}

/** An interface that somebody has taken down loses its IPv6 addresses; nothing is to be waited for there. */
function takesPackets({ socket }: Place, { index, up }: Link, { addresses }: LinkPlan): boolean {
  const wanted = addresses.filter(({ family }) => family === AF_INET6);
  if (wanted.length === 0 || !up) return true;
  const taken = new Set(listTakenAddresses(socket, index).map(formatAddress));
  return wanted.every((address) => taken.has(formatAddress(address)));
}
