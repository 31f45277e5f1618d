/** Where the connections of a pod lead, as its kernel has it: the one address behind each interface, per family. */
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { addressBits, formatAddress, type IpAddress } from "../../sdk/linux/netlink/ip-address.js";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { listRoutes, mainTable } from "../../sdk/linux/netlink/routes.js";
import type { NetlinkSocket } from "../../sdk/linux/netlink/socket.js";

export interface FarEnd {
  readonly own: IpAddress;
  readonly far: IpAddress;
}

/** By "INTERFACE/4" and "INTERFACE/6". */
export function farEnds(socket: NetlinkSocket): ReadonlyMap<string, FarEnd> {
  const names = new Map(listLinks(socket).map(({ index, name }) => [index, name]));
  const addresses = listAddresses(socket).filter(({ scope }) => scope === 0);
  const taken = new Set(addresses.map(({ prefix }) => formatAddress(prefix)));
  const found = new Map<string, FarEnd>();
  for (const family of [AF_INET, AF_INET6] as const) {
    for (const { prefix, linkIndex, table, gateway } of listRoutes(socket, family)) {
      // the far end has a route of its own; so has, in IPv6, the own address
      if (table !== mainTable || gateway !== undefined || prefix.length !== addressBits(family)) continue;
      if (taken.has(formatAddress(prefix))) continue;
      const own = addresses.find((address) => address.linkIndex === linkIndex && address.prefix.family === family);
      const name = names.get(linkIndex);
      if (own !== undefined && name !== undefined) {
        found.set(`${name}/${family === AF_INET ? 4 : 6}`, { own: own.prefix, far: prefix });
      }
    }
  }
  return found;
}
