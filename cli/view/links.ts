/** The interfaces of a namespace as its kernel shows them. */
import { type LinkAddress, listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { formatPrefix } from "../../sdk/linux/netlink/ip-address.js";
import { type Link, listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { formatTable } from "./table.js";

export interface LinkWithAddresses extends Link {
  readonly addresses: readonly string[];
}

/** All interfaces but loopback. @throws NOT_FOUND when the namespace is gone */
export function readLinks(netnsUrl: string): LinkWithAddresses[] {
  const netns = openNetns(netnsUrl);
  try {
    const netlink = openNetlinkSocket(netns);
    try {
      const addresses = listAddresses(netlink);
      return listLinks(netlink)
        .filter(({ name }) => name !== "lo")
        .map((link) => ({ ...link, addresses: addressesOf(addresses, link.index) }));
    } finally {
      netlink.close();
    }
  } finally {
    netns.close();
  }
}

/** Link-local addresses are the kernel's own and say nothing. */
function addressesOf(addresses: readonly LinkAddress[], linkIndex: number): string[] {
  return addresses
    .filter((address) => address.linkIndex === linkIndex && address.scope === 0)
    .map(({ prefix }) => formatPrefix(prefix));
}

export function describeLinks(netnsUrl: string): string {
  const rows = readLinks(netnsUrl).map((link) => [
    link.name,
    link.kind + (link.vxlan === undefined ? "" : ` vni ${link.vxlan.vni}`),
    link.up ? (link.carrier ? "up" : "no carrier") : "down",
    String(link.mtuBytes),
    link.macAddress,
    link.addresses.join(", "),
    link.statistics === undefined
      ? ""
      : `rx ${link.statistics.rxPackets} tx ${link.statistics.txPackets} drop ${link.statistics.drops}`,
  ]);
  return formatTable(["NAME", "KIND", "STATE", "MTU", "MAC", "ADDRESSES", "PACKETS"], rows);
}
