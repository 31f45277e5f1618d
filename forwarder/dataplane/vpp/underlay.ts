/**
 * The way of tunnels out of the node: VPP reads and writes the link that has the tunnel address, beside the kernel, with the same
 * hardware and IP address (AF_PACKET). Filters keep the two apart: VPP takes and sends nothing but the tunnels' own packets
 * (pinholes.ts), and the kernel holds the tunnels' UDP ports with sockets that nobody reads, so that it does not answer "port
 * unreachable". Where a VPP of somebody else has the address already, its interface is used as it is.
 */
import { listAddresses } from "../../../sdk/linux/netlink/addresses.js";
import {
  formatAddress,
  formatPrefix,
  type IpAddress,
  type IpPrefix,
  parseAddress,
} from "../../../sdk/linux/netlink/ip-address.js";
import { getLink, type Link } from "../../../sdk/linux/netlink/links.js";
import { parseMac } from "../../../sdk/linux/netlink/mac-address.js";
import { listRoutes, mainTable } from "../../../sdk/linux/netlink/routes.js";
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { VppApi } from "../../vpp/client.js";
import type { Values } from "../../vpp/codec.js";
import { isRefusal } from "../../vpp/refusals.js";
import { addressOf } from "../kernel/address-of.js";
import { familyOf, toVppAddress, toVppPath, toVppPrefix } from "./addresses.js";
import { makeInterface, noIndex, removeInterface, type VppInterface } from "./interfaces.js";
import type { Inventory } from "./inventory.js";
import { neighborOf } from "./resolve.js";
import type { Tagger } from "./shape.js";

export interface Underlay {
  readonly swIfIndex: number;
  /** Undefined: another's interface, which is left as it is when the last tunnel has gone. */
  readonly made: VppInterface | undefined;
  readonly linkName: string;
}

export interface UnderlayNeeds {
  readonly api: VppApi;
  readonly own: NetlinkSocket;
  readonly tagger: Tagger;
  readonly stock: Inventory;
}

/** Finds or makes it. @throws NOT_FOUND no link has the address; FAILED_PRECONDITION it cannot be used */
export async function raiseUnderlay({ api, own, tagger, stock }: UnderlayNeeds, localAddress: string): Promise<Underlay> {
  const link = linkWith(own, localAddress);
  const tag = tagger.tag(link.name, "underlay", [link.index, link.macAddress]);
  const known = stock.interfaces.get(tag);
  stock.interfaces.delete(tag);
  if (known === undefined) {
    const foreign = await interfaceWith(api, localAddress);
    if (foreign !== undefined) return { swIfIndex: foreign, made: undefined, linkName: link.name };
  }
  const wanted = {
    kind: "af_packet",
    hostInterface: link.name,
    hostIndex: link.index,
    macAddress: parseMac(link.macAddress),
    isUnderlay: true,
  } as const;
  const made = known ?? (await makeInterface(api, wanted, tag, link.mtuBytes));
  try {
    await configure(api, own, made.swIfIndex, link.index);
  } catch (error) {
    if (known === undefined) await removeInterface(api, made).catch(() => {});
    throw error;
  }
  return { swIfIndex: made.swIfIndex, made, linkName: link.name };
}

/** @throws NOT_FOUND no link has the address; FAILED_PRECONDITION VPP cannot use the one that has */
export function linkWith(own: NetlinkSocket, localAddress: string): Link {
  const address = addressOf(listAddresses(own), localAddress);
  const link = address && getLink(own, address.linkIndex, "without-statistics");
  if (link === undefined)
    throw statusError(Code.NOT_FOUND, `no interface of the forwarder has the address ${localAddress}; check NSM_TUNNEL_IP`);
  if (link.macAddress === "" || /^(00:){5}00$/.test(link.macAddress)) {
    const text = `${link.name}, which has the tunnel address ${localAddress}, is no Ethernet link, and VPP needs one; set NSM_TUNNEL_IP to an address of another`;
    throw statusError(Code.FAILED_PRECONDITION, text);
  }
  return link;
}

/** The interface of a VPP that has the address; all questions in one pipeline. */
async function interfaceWith(api: VppApi, localAddress: string): Promise<number | undefined> {
  const wanted = toVppAddress(localAddress);
  const all = await api.dump("sw_interface_dump", { sw_if_index: noIndex });
  const addresses = await Promise.all(
    all.map(({ sw_if_index: index = 0 }) => api.dump("ip_address_dump", { sw_if_index: index, is_ipv6: wanted["af"] === 1 })),
  );
  const length = wanted["af"] === 1 ? 16 : 4;
  const bytes = (address: Values): string => Buffer.from(address["un"] as Uint8Array).toString("hex", 0, length);
  for (const { sw_if_index: index, prefix } of addresses.flat()) {
    const { address } = prefix as Values;
    if (bytes(address as Values) === bytes(wanted)) return Number(index);
  }
  return undefined;
}

/** The link's addresses and routes, as the kernel has them. Said again, they change nothing. */
async function configure(api: VppApi, own: NetlinkSocket, swIfIndex: number, linkIndex: number): Promise<void> {
  const addresses = listAddresses(own, linkIndex).filter(({ scope }) => scope === 0);
  if (addresses.some(({ prefix }) => familyOf(prefix) === 1)) {
    await api.call("sw_interface_ip6_enable_disable", { sw_if_index: swIfIndex, enable: true });
    // The node's own router advertisements are nobody else's.
    const quiet = { sw_if_index: swIfIndex, suppress: 1, cease: 1 };
    await api.call("sw_interface_ip6nd_ra_config", quiet).catch(() => {});
  }
  await Promise.all(addresses.map(({ prefix }) => addAddress(api, swIfIndex, prefix)));
  await copyRoutes(api, own, swIfIndex, linkIndex);
}

async function addAddress(api: VppApi, swIfIndex: number, prefix: IpPrefix): Promise<void> {
  const values = { sw_if_index: swIfIndex, is_add: true, prefix: toVppPrefix(prefix) };
  await api.call("sw_interface_add_del_address", values).catch((error: unknown) => {
    // Said before, by an earlier run of the forwarder.
    if (!isRefusal(error, -105, -127, -81, -114)) throw error;
  });
}

export async function copyRoutes(api: VppApi, own: NetlinkSocket, swIfIndex: number, linkIndex: number): Promise<void> {
  const families = [...new Set(listAddresses(own, linkIndex).map(({ prefix }) => prefix.family))];
  const routes = families
    .flatMap((family) => listRoutes(own, family, linkIndex))
    .filter(
      ({ table, prefix, gateway }) => table === mainTable && gateway !== undefined && !formatPrefix(prefix).startsWith("fe80:"),
    );
  await Promise.all(
    routes.map(({ prefix, gateway }) => {
      const paths = [toVppPath(swIfIndex, familyOf(prefix), gateway && padded(gateway))];
      const route = { prefix: toVppPrefix(prefix), n_paths: paths.length, paths };
      return api.call("ip_route_add_del", { is_add: true, is_multipath: false, route });
    }),
  );
}

function padded({ bytes }: IpAddress): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, index) => bytes[index] ?? 0);
}

/**
 * Tells VPP the hardware address of the next hop towards the other end, so that the first packet is not spent on asking. Not
 * knowing it is no error: VPP asks by itself.
 */
export async function tellNextHop({ api, own }: Pick<UnderlayNeeds, "api" | "own">, underlay: Underlay, remoteAddress: string) {
  const found = await neighborOf(own, underlay.linkName, parseAddress(remoteAddress));
  if (found === undefined || underlay.made === undefined) return;
  const neighbor = {
    sw_if_index: underlay.swIfIndex,
    mac_address: parseMac(found.macAddress),
    ip_address: toVppAddress(formatAddress(found.address)),
  };
  await api.call("ip_neighbor_add_del", { is_add: true, neighbor });
}
