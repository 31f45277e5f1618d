/** After something was built or changed: the neighbours at both ends hear of the addresses. */
import { announceAddresses } from "../../../sdk/linux/announce-addresses.js";
import type { Built } from "./built.js";
import { findExactLink, type Places } from "./places.js";
import type { Plan } from "./plan.js";

/** @throws SystemError */
export function announceBuilt(places: Places, plan: Plan, built: Built): void {
  for (const { role, medium, addresses } of plan.links) {
    if (medium === "tun" || addresses.length === 0) continue;
    const made = built.links.find((link) => link.role === role);
    const place = made && places.find(made);
    const link = place && findExactLink(place, made);
    if (place === undefined || link === undefined) continue;
    announceAddresses(place.netns, [{ linkIndex: link.index, macAddress: link.macAddress, addresses }]);
  }
}
