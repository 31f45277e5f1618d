/**
 * Interfaces in VPP: made, found again by their tags, and taken away. Each call here is a few messages in one pipeline.
 * An interface that is made and not finished is taken away again.
 */
import type { VppApi } from "../../vpp/client.js";
import type { Values } from "../../vpp/codec.js";
import { isRefusal } from "../../vpp/refusals.js";
import { toVppAddress } from "./addresses.js";

/** What is to be made; everything in it is part of the tag. */
export type WantedInterface =
  | {
      readonly kind: "af_packet";
      readonly hostInterface: string;
      readonly hostIndex: number;
      readonly macAddress: Uint8Array;
      readonly isUnderlay: boolean;
    }
  | { readonly kind: "memif"; readonly isServer: boolean; readonly isIp: boolean; readonly socket: string }
  | {
      readonly kind: "vxlan";
      readonly vni: number;
      readonly udpPort: number;
      readonly localAddress: string;
      readonly remoteAddress: string;
    }
  | {
      readonly kind: "wireguard";
      readonly privateKey: string;
      readonly listenPort: number;
      readonly remotePort: number;
      readonly remotePublicKey: string;
      readonly localAddress: string;
      readonly remoteAddress: string;
    };

/** One that is there, with what its removal needs. */
export type VppInterface = { readonly swIfIndex: number; readonly tag: string } & (
  | { readonly kind: "af_packet"; readonly hostInterface: string }
  | { readonly kind: "memif"; readonly socketId: number }
  | { readonly kind: "vxlan"; readonly tunnel: Values }
  | { readonly kind: "wireguard" }
);

export const noIndex = 0xffff_ffff;
/** IF_STATUS_API_FLAG_ADMIN_UP, …_LINK_UP. */
export const adminUp = 1;
export const linkUp = 2;
/** Polled while packets come, and by interrupt when none do: idle costs nothing. */
const adaptive = 3;
/** Room for a jumbo frame; 32 to a block cost 0.6 MiB for each interface, upstream's 1024 cost 20. */
const frameBytes = 10_240;
const framesPerBlock = 32;
const ethernetMode = 1;
/** AF_PACKET_API_FLAG_VERSION_2. */
const version2 = 8;
/**
 * AF_PACKET_API_FLAG_CKSUM_GSO: the kernel says of packets whether their checksum is still to be made. A packet of a program on this
 * machine that never saw a network card has none, and VPP would drop it.
 */
const checksumOffload = 2;
const keepaliveSeconds = 10;

/** @throws a status */
export async function makeInterface(api: VppApi, wanted: WantedInterface, tag: string, mtuBytes: number): Promise<VppInterface> {
  const made = await create(api, wanted, tag);
  try {
    const { swIfIndex } = made;
    await Promise.all([
      api.call("sw_interface_tag_add_del", { is_add: true, sw_if_index: swIfIndex, tag }),
      setMtu(api, swIfIndex, mtuBytes),
      ...(wanted.kind === "wireguard" ? [addPeer(api, swIfIndex, wanted)] : []),
      api.call("sw_interface_set_flags", { sw_if_index: swIfIndex, flags: adminUp }),
    ]);
    return made;
  } catch (error) {
    await removeInterface(api, made).catch(() => {});
    throw error;
  }
}

async function create(api: VppApi, wanted: WantedInterface, tag: string): Promise<VppInterface> {
  if (wanted.kind === "af_packet") return await createPacket(api, wanted, tag);
  if (wanted.kind === "memif") return await createMemif(api, wanted, tag);
  if (wanted.kind === "vxlan") {
    const tunnel = tunnelOf(wanted);
    const { sw_if_index: index } = await api.call("vxlan_add_del_tunnel_v3", { ...tunnel, is_add: true, instance: noIndex });
    return { kind: "vxlan", swIfIndex: Number(index), tag, tunnel };
  }
  const settings = {
    user_instance: noIndex,
    private_key: Buffer.from(wanted.privateKey, "base64"),
    port: wanted.listenPort,
    src_ip: toVppAddress(wanted.localAddress),
  };
  const { sw_if_index: index } = await api.call("wireguard_interface_create", { interface: settings, generate_key: false });
  return { kind: "wireguard", swIfIndex: Number(index), tag };
}

async function createPacket(api: VppApi, wanted: WantedInterface & { kind: "af_packet" }, tag: string): Promise<VppInterface> {
  const { hostInterface, macAddress, isUnderlay } = wanted;
  const create = (): Promise<Values> =>
    api.call("af_packet_create_v3", {
      mode: ethernetMode,
      hw_addr: macAddress,
      host_if_name: hostInterface,
      rx_frame_size: frameBytes,
      tx_frame_size: frameBytes,
      rx_frames_per_block: framesPerBlock,
      tx_frames_per_block: framesPerBlock,
      flags: isUnderlay ? version2 | checksumOffload : version2,
      num_rx_queues: 1,
      num_tx_queues: 1,
    });
  // VPP keeps one whose interface on the host has been made anew under the same name.
  const made = await create().catch(async (error: unknown) => {
    if (!isRefusal(error, -79)) throw error;
    await api.call("af_packet_delete", { host_if_name: hostInterface });
    return await create();
  });
  return { kind: "af_packet", swIfIndex: Number(made["sw_if_index"]), tag, hostInterface };
}

async function createMemif(api: VppApi, wanted: WantedInterface & { kind: "memif" }, tag: string): Promise<VppInterface> {
  const { isServer, isIp, socket } = wanted;
  const socketId = await addSocket(api, socket);
  try {
    const name = api.offers("memif_create_v2") ? "memif_create_v2" : "memif_create";
    const { sw_if_index: index } = await api.call(name, {
      role: isServer ? 0 : 1,
      mode: isIp ? 1 : 0,
      rx_queues: 1,
      tx_queues: 1,
      socket_id: socketId,
    });
    return { kind: "memif", swIfIndex: Number(index), tag, socketId };
  } catch (error) {
    await removeSocket(api, socketId).catch(() => {});
    throw error;
  }
}

/** Until 23.06 the number of a socket was the client's to choose. */
let nextSocketId = 1_000_000;
const maxOldNameBytes = 107;

async function addSocket(api: VppApi, socket: string): Promise<number> {
  const values = { is_add: true, socket_filename: socket };
  if (api.offers("memif_socket_filename_add_del_v2") || Buffer.byteLength(socket) > maxOldNameBytes) {
    const { socket_id: id } = await api.call("memif_socket_filename_add_del_v2", { ...values, socket_id: noIndex });
    return Number(id);
  }
  const id = nextSocketId++;
  await api.call("memif_socket_filename_add_del", { ...values, socket_id: id });
  return id;
}

async function removeSocket(api: VppApi, socketId: number): Promise<void> {
  const versions = ["memif_socket_filename_add_del_v2", "memif_socket_filename_add_del"];
  const name = versions.find((each) => api.offers(each)) ?? "memif_socket_filename_add_del";
  await api.call(name, { is_add: false, socket_id: socketId, socket_filename: "" });
}

function tunnelOf(wanted: WantedInterface & { kind: "vxlan" }): Values {
  return {
    src_address: toVppAddress(wanted.localAddress),
    dst_address: toVppAddress(wanted.remoteAddress),
    src_port: wanted.udpPort,
    dst_port: wanted.udpPort,
    mcast_sw_if_index: noIndex,
    decap_next_index: noIndex,
    vni: wanted.vni,
  };
}

async function addPeer(api: VppApi, swIfIndex: number, wanted: WantedInterface & { kind: "wireguard" }): Promise<void> {
  const everything = [0, 1].map((af) => ({ address: { af, un: new Uint8Array(16) }, len: 0 }));
  const peer = {
    public_key: Buffer.from(wanted.remotePublicKey, "base64"),
    port: wanted.remotePort,
    persistent_keepalive: keepaliveSeconds,
    endpoint: toVppAddress(wanted.remoteAddress),
    sw_if_index: swIfIndex,
    n_allowed_ips: everything.length,
    allowed_ips: everything,
  };
  await api.call("wireguard_peer_add", { peer });
}

export async function setMtu(api: VppApi, swIfIndex: number, mtuBytes: number): Promise<void> {
  await api.call("sw_interface_set_mtu", { sw_if_index: swIfIndex, mtu: [mtuBytes, mtuBytes, mtuBytes, mtuBytes] });
}

/** Takes effect on rings that are there, so it is said when the link comes up. What cannot be adaptive stays as it is. */
export function goAdaptive(api: VppApi, swIfIndex: number): void {
  api.call("sw_interface_set_rx_mode", { sw_if_index: swIfIndex, mode: adaptive }).catch(() => {});
}

/** What is gone already is fine. */
export async function removeInterface(api: VppApi, found: VppInterface): Promise<void> {
  const { swIfIndex } = found;
  switch (found.kind) {
    case "af_packet":
      // -11: it has none of that name.
      return await gone(api.call("af_packet_delete", { host_if_name: found.hostInterface }), -11);
    case "memif":
      await gone(api.call("memif_delete", { sw_if_index: swIfIndex }));
      return await gone(removeSocket(api, found.socketId));
    case "vxlan":
      return await gone(api.call("vxlan_add_del_tunnel_v3", { ...found.tunnel, is_add: false, instance: noIndex }));
    case "wireguard": {
      const peers = await api.dump("wireguard_peers_dump", { peer_index: noIndex });
      for (const { peer } of peers) {
        const { sw_if_index: owner, peer_index: index = 0 } = peer as Values;
        if (owner === swIfIndex) await gone(api.call("wireguard_peer_remove", { peer_index: index }));
      }
      return await gone(api.call("wireguard_interface_delete", { sw_if_index: swIfIndex }));
    }
  }
}

async function gone(removal: Promise<unknown>, ...more: readonly number[]): Promise<void> {
  await removal.catch((error: unknown) => {
    if (!isRefusal(error, -2, -6, -7, -71, ...more)) throw error;
  });
}

/** Whether an interface is still the one that we made: a VPP may forget. */
export async function isThere(api: VppApi, { swIfIndex, tag }: VppInterface): Promise<boolean> {
  const found = await api.dump("sw_interface_dump", { sw_if_index: swIfIndex });
  return found.some((each) => each["sw_if_index"] === swIfIndex && each["tag"] === tag);
}
