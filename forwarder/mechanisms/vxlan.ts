/**
 * VXLAN on a forwarder. The side that answers chooses the VNI (rules: forwarder/vni.ts) and writes its own address;
 * both use one UDP port, because a kernel device listens on and sends to the same.
 */
import { MechanismClass, MechanismType, Payload } from "../../sdk/api.js";
import type { Connection, Mechanism } from "../../sdk/gen/connection.js";
import { parseAddress } from "../../sdk/ip.js";
import { withParameters } from "../../sdk/mechanisms/parameters.js";
import { parseVxlan, vxlanOffer, vxlanParameter } from "../../sdk/mechanisms/vxlan.js";
import { Code, statusError } from "../../sdk/status.js";
import type { DataPlane, VxlanPort } from "../dataplane/dataplane.js";
import { lowestMtuBytes } from "../mtu.js";
import type { PathMtus } from "../path-mtu.js";
import { type VniPool, vniIsEven } from "../vni.js";
import type { MechanismKind } from "./mechanism.js";
import { ownTunnelMtu } from "./own-mtu.js";

export interface VxlanOptions {
  readonly tunnelAddress: string;
  readonly udpPort: number;
  readonly vnis: VniPool;
  readonly dataPlane: Pick<DataPlane, "underlayMtuBytes">;
  /** What is known of the paths to other nodes; absent = only the link counts. */
  readonly pathMtus?: PathMtus | undefined;
}

export function vxlanKind(options: VxlanOptions): MechanismKind {
  const { tunnelAddress, udpPort, vnis, dataPlane } = options;
  const ownMtu = ownTunnelMtu(MechanismType.VXLAN, tunnelAddress, dataPlane, options.pathMtus);
  const remoteOf = (connection: Connection, mechanism: Mechanism): string | undefined => {
    const { srcIp, dstIp } = parseVxlan(mechanism, connection.id);
    return srcIp === tunnelAddress ? dstIp : srcIp;
  };
  return {
    type: MechanismType.VXLAN,
    classes: [MechanismClass.REMOTE],
    payloads: [Payload.ETHERNET],
    async accept(connection, mechanism) {
      const asked = parseVxlan(mechanism, connection.id);
      const srcIp = checkPeer(connection.id, asked.srcIp, asked.srcPort, "asks", options);
      const vni = chooseVni(connection.id, { ...asked, srcIp }, options);
      return withParameters(mechanism, {
        [vxlanParameter.dstIp]: tunnelAddress,
        [vxlanParameter.dstPort]: udpPort,
        [vxlanParameter.vni]: vni,
        [vxlanParameter.mtu]: lowestMtuBytes(asked.mtuBytes, await ownMtu.of(srcIp)),
      });
    },
    async offer() {
      return vxlanOffer({ srcIp: tunnelAddress, srcPort: udpPort, mtuBytes: await ownMtu.of() });
    },
    renew: async (connection, agreed) =>
      withParameters(agreed, { [vxlanParameter.mtu]: await ownMtu.of(remoteOf(connection, agreed)) }),
    async mtuBytes(connection, mechanism) {
      const { mtuBytes } = parseVxlan(mechanism, connection.id);
      return lowestMtuBytes(mtuBytes, await ownMtu.of(remoteOf(connection, mechanism)));
    },
    provenMtuBytes: (connection, mechanism) => ownMtu.proven(remoteOf(connection, mechanism)),
    clientPort(connection, mechanism) {
      const { srcIp, srcPort, vni } = parseVxlan(mechanism, connection.id);
      return port(connection, vni, checkPeer(connection.id, srcIp, srcPort, "asks", options), options);
    },
    endpointPort(connection, mechanism) {
      const { dstIp, dstPort, vni } = parseVxlan(mechanism, connection.id);
      return port(connection, vni, checkPeer(connection.id, dstIp, dstPort, "answers", options), options);
    },
    withMtu: (mechanism: Mechanism, mtuBytes) => withParameters(mechanism, { [vxlanParameter.mtu]: mtuBytes }),
    release: (connectionId) => vnis.release(connectionId),
  };
}

function port(connection: Connection, vni: number | undefined, remoteAddress: string, options: VxlanOptions): VxlanPort {
  if (vni === undefined) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `connection ${connection.id}: the forwarder at ${remoteAddress} gave no VNI; ask again for the connection`,
    );
  }
  return { kind: "vxlan", vni, udpPort: options.udpPort, localAddress: options.tunnelAddress, remoteAddress };
}

/** The other end's address, if a tunnel between it and ours can work. */
function checkPeer(
  connectionId: string,
  address: string | undefined,
  udpPort: number | undefined,
  verb: "asks" | "answers",
  options: VxlanOptions,
): string {
  const who = `connection ${connectionId}: the forwarder that ${verb}`;
  if (address === undefined) {
    const key = verb === "asks" ? vxlanParameter.srcIp : vxlanParameter.dstIp;
    throw statusError(Code.INVALID_ARGUMENT, `${who} wrote no ${key} into the VXLAN mechanism; it must give its tunnel address`);
  }
  if (parseAddress(address)?.family !== parseAddress(options.tunnelAddress)?.family) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `${who} has the tunnel address ${address} and this one ${options.tunnelAddress}; set NSM_TUNNEL_IP of both to one IP family`,
    );
  }
  if (udpPort !== undefined && udpPort !== options.udpPort) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `${who} (${address}) uses UDP port ${udpPort} for VXLAN and this one ${options.udpPort}; set NSM_VXLAN_PORT of both to one port`,
    );
  }
  return address;
}

/** A number that the asking side already has is kept, unless it is somebody else's here. */
function chooseVni(
  owner: string,
  asked: { srcIp: string; vni: number | undefined; origSrcIp: string | undefined; origDstIp: string | undefined },
  { vnis, udpPort, tunnelAddress }: VxlanOptions,
): number {
  const held = vnis.held(owner, udpPort);
  if (asked.vni !== undefined && asked.vni !== held && vnis.claim({ owner, udpPort, vni: asked.vni })) return asked.vni;
  if (held !== undefined) return held;
  const { srcIp, origSrcIp, origDstIp } = asked;
  return vnis.allocate({ owner, udpPort, even: vniIsEven({ srcIp, dstIp: tunnelAddress, origSrcIp, origDstIp }) });
}
