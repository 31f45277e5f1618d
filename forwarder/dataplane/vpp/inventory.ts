/** What of ours is in a VPP that was running before: interfaces by tag, and how they are joined. */
import type { VppApi } from "../../vpp/client.js";
import type { Values } from "../../vpp/codec.js";
import { noIndex, type VppInterface } from "./interfaces.js";

export interface Inventory {
  /** By tag; whoever takes one into use takes it out of here. */
  readonly interfaces: Map<string, VppInterface>;
  /** L2 cross-connects by receiving interface. */
  readonly crossConnects: ReadonlyMap<number, number>;
}

/** Two questions in one pipeline when nothing of ours is there; one more for each kind that is. */
export async function takeInventory(api: VppApi, prefix: string): Promise<Inventory> {
  const all = await api.dump("sw_interface_dump", { sw_if_index: noIndex });
  const ours = all.filter(({ tag }) => String(tag).startsWith(prefix));
  if (ours.length === 0) return { interfaces: new Map(), crossConnects: new Map() };
  const dump = (name: string, values: Values = {}): Promise<readonly Values[]> =>
    api.offers(name) ? api.dump(name, values) : Promise.resolve([]);
  const [packets, memifs, tunnels, joins] = await Promise.all([
    dump("af_packet_dump"),
    dump("memif_dump"),
    dump("vxlan_tunnel_v2_dump", { sw_if_index: noIndex }),
    dump("l2_xconnect_dump"),
  ]);
  const interfaces = new Map<string, VppInterface>();
  for (const each of ours) {
    const swIfIndex = Number(each["sw_if_index"]);
    const same = ({ sw_if_index: index }: Values): boolean => index === swIfIndex;
    const [packet, memif, tunnel] = [packets.find(same), memifs.find(same), tunnels.find(same)];
    const common = { swIfIndex, tag: String(each["tag"]) };
    if (packet !== undefined) interfaces.set(common.tag, { ...common, kind: "af_packet", hostInterface: hostNameOf(each) });
    else if (memif !== undefined) interfaces.set(common.tag, { ...common, kind: "memif", socketId: Number(memif["socket_id"]) });
    else if (tunnel !== undefined) interfaces.set(common.tag, { ...common, kind: "vxlan", tunnel: identityOf(tunnel) });
    else if (/^wg\d/.test(String(each["interface_name"]))) interfaces.set(common.tag, { ...common, kind: "wireguard" });
  }
  const crossConnects = new Map(joins.map(({ rx_sw_if_index: rx, tx_sw_if_index: tx }) => [Number(rx), Number(tx)]));
  return { interfaces, crossConnects };
}

/** VPP names it after its interface of the host; af_packet_details cuts a name of 15 bytes. */
function hostNameOf(details: Values): string {
  return String(details["interface_name"]).replace(/^host-/, "");
}

/** The fields by which VPP knows a tunnel, as it is made and removed. */
function identityOf({ src_address = {}, dst_address = {}, src_port = 0, dst_port = 0, vni = 0 }: Values): Values {
  return { src_address, dst_address, src_port, dst_port, vni, mcast_sw_if_index: noIndex, decap_next_index: noIndex };
}
