/** What is told of the data plane: capabilities, objects; and what two cross-connects have in common. */

import { toStatusError } from "../../../sdk/status.js";
import type { VppHost } from "../../vpp/host.js";
import { plugins } from "../../vpp/start-conf.js";
import type { Capability, CrossConnect, OwnedObject, VxlanPort } from "../dataplane.js";

/** A message of each plugin that is used: whether VPP offers it says whether the plugin is loaded. */
const proofs: Readonly<Record<(typeof plugins)[number], string>> = {
  acl: "acl_add_replace",
  af_packet: "af_packet_create_v3",
  l3xc: "l3xc_update",
  memif: "memif_create",
  ping: "control_ping",
  vxlan: "vxlan_add_del_tunnel_v3",
  wireguard: "wireguard_peer_add",
};

/** Never rejects: what cannot be had is said in the line. */
export async function capabilitiesOf(
  host: VppHost,
  apiSocket: string,
  command: readonly string[] | undefined,
): Promise<Capability[]> {
  try {
    const api = await host.get();
    const lacking = plugins.filter((name) => !api.offers(proofs[name]));
    const whose = command === undefined ? "another's" : "our own";
    const detail = `VPP ${api.version}, ${whose} (process ${api.pid}), API socket ${apiSocket}, ${api.messages} messages`;
    const missing = lacking.map((name) => `${name}_plugin.so`).join(", ");
    const parts: Capability[] = [
      { name: "vpp", supported: "yes", detail: lacking.length === 0 ? detail : `${detail}; not loaded: ${missing}` },
      {
        name: "memif",
        supported: lacking.includes("memif") ? "no" : "yes",
        detail: lacking.includes("memif") ? "enable memif_plugin.so in VPP's start.conf" : "VPP, both roles, Ethernet and IP",
      },
    ];
    return parts;
  } catch (error) {
    return [{ name: "vpp", supported: "no", detail: toStatusError(error).details }];
  }
}

export function objectsOf({ id: connectionId, client, endpoint }: CrossConnect): OwnedObject[] {
  return [client, endpoint].flatMap((port): OwnedObject[] => {
    if (port.kind === "memif")
      return [{ kind: "socket", name: `memif ${port.socketFile}`, netnsUrl: port.netnsUrl, connectionId }];
    if (port.kind === "wireguard") return [{ kind: "udp-port", name: String(port.listenPort), netnsUrl: "", connectionId }];
    return port.kind === "vxlan" ? [{ kind: "vni", name: `${port.vni} port ${port.udpPort}`, netnsUrl: "", connectionId }] : [];
  });
}

export function vxlanPorts({ client, endpoint }: CrossConnect): VxlanPort[] {
  return [client, endpoint].filter((port): port is VxlanPort => port.kind === "vxlan");
}

/** Whether they differ only in what VPP does not see. */
export function samePorts(one: CrossConnect, other: CrossConnect): boolean {
  const seen = ({ client, endpoint, mtuBytes, payload }: CrossConnect): string =>
    JSON.stringify([client, endpoint, mtuBytes, payload]);
  return seen(one) === seen(other);
}
