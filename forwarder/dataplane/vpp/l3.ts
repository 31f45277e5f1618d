/**
 * IP packets between two sides of which at least one has no Ethernet header: VPP's l3xc sends whatever comes in on the one out of the
 * other. Towards a workload behind Ethernet all packets go to its one hardware address; the workload in turn has been told VPP's as that
 * of its neighbours (`neighborsFor`), so nobody asks by ARP.
 */
import { addressBits, formatAddress, type IpPrefix, parseAddress, parsePrefix } from "../../../sdk/linux/netlink/ip-address.js";
import type { VppApi } from "../../vpp/client.js";
import { isRefusal } from "../../vpp/refusals.js";
import type { KernelPort } from "../dataplane.js";
import { familyOf, toVppAddress, toVppPath } from "./addresses.js";
import type { VppInterface } from "./interfaces.js";
import type { ReadyPort } from "./ports.js";
import type { Side } from "./shape.js";

const families = [0, 1] as const;
/** IP_API_NEIGHBOR_FLAG_STATIC. */
const staticNeighbor = 1;

/**
 * Stands for whoever is at the other end of a tunnel that takes every address: VPP looks for the peer by the next hop. Documentation
 * addresses (RFC 5737, RFC 3849), so that they are nobody's.
 */
const someone = [parseAddress("192.0.2.1"), parseAddress("2001:db8::1")] as const;

export async function joinL3(
  api: VppApi,
  interfaces: Readonly<Record<Side, VppInterface>>,
  ready: Readonly<Record<Side, ReadyPort>>,
): Promise<void> {
  await Promise.all([
    send(api, interfaces.client, interfaces.endpoint, ready.endpoint),
    send(api, interfaces.endpoint, interfaces.client, ready.client),
  ]);
}

/** What comes in on one goes out of the other. */
async function send(api: VppApi, from: VppInterface, to: VppInterface, { workload }: ReadyPort): Promise<void> {
  for (const family of families) {
    const nextHop = await nextHopOf(api, to, family, workload);
    if (nextHop === "none") continue;
    const paths = [toVppPath(to.swIfIndex, family, nextHop)];
    await api.call("l3xc_update", { l3xc: { sw_if_index: from.swIfIndex, is_ip6: family === 1, n_paths: paths.length, paths } });
  }
}

/** "none": no packet of that family can be for it. */
async function nextHopOf(
  api: VppApi,
  to: VppInterface,
  family: 0 | 1,
  workload: ReadyPort["workload"],
): Promise<Uint8Array | undefined | "none"> {
  if (workload === undefined) return to.kind === "wireguard" ? padded(someone[family].bytes) : undefined;
  const own = workload.addresses.map(parsePrefix).find((prefix) => familyOf(prefix) === family) ?? someone[family];
  const neighbor = {
    sw_if_index: to.swIfIndex,
    flags: staticNeighbor,
    mac_address: workload.macAddress,
    ip_address: toVppAddress(own),
  };
  await api.call("ip_neighbor_add_del", { is_add: true, neighbor });
  return padded(own.bytes);
}

function padded(bytes: Uint8Array): Uint8Array {
  const address = new Uint8Array(16);
  address.set(bytes);
  return address;
}

export async function partL3(api: VppApi, interfaces: Readonly<Record<Side, VppInterface>>): Promise<void> {
  for (const { swIfIndex } of Object.values(interfaces)) {
    for (const family of families) {
      await api.call("l3xc_del", { sw_if_index: swIfIndex, is_ip6: family === 1 }).catch((error: unknown) => {
        if (!isRefusal(error, -6, -7, -2)) throw error;
      });
    }
  }
}

/** The port with VPP as the neighbour behind every single address that it reaches directly, unless the request names another. */
export function withNeighbors(port: KernelPort, macAddress: string): KernelPort {
  const isSingle = (prefix: IpPrefix): boolean => prefix.length === addressBits(prefix.family);
  const direct = port.onLinkPrefixes.map(parsePrefix).filter(isSingle).map(formatAddress);
  const hops = port.routes.filter(({ nextHop }) => nextHop !== "").map(({ nextHop }) => formatAddress(parseAddress(nextHop)));
  const known = new Set(port.neighbors.map(({ address }) => formatAddress(parseAddress(address))));
  const added = [...new Set([...direct, ...hops])].filter((address) => !known.has(address));
  return { ...port, neighbors: [...port.neighbors, ...added.map((address) => ({ address, macAddress }))] };
}
