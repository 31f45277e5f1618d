/**
 * VXLAN: Ethernet frames in UDP between two nodes (RFC 7348).
 * Keys and meaning: NSM api, mechanisms/vxlan. The asking side writes src_*, the answering side dst_* and the VNI.
 */
import { MechanismClass, MechanismType } from "../api.js";
import type { Mechanism } from "../gen/connection.js";
import { makeMechanism, readParameters, sharedParameter } from "./parameters.js";

export const vxlanParameter = {
  srcIp: sharedParameter.srcIp,
  dstIp: sharedParameter.dstIp,
  srcPort: sharedParameter.srcPort,
  dstPort: sharedParameter.dstPort,
  origSrcIp: sharedParameter.origSrcIp,
  origDstIp: sharedParameter.origDstIp,
  vni: "vni",
  mtu: sharedParameter.mtu,
} as const;

/** UDP port of VXLAN (IANA). */
export const defaultVxlanPort = 4789;
export const maxVni = 2 ** 24 - 1;
const maxMtu = 65_535;

export interface VxlanParameters {
  readonly srcIp: string | undefined;
  readonly dstIp: string | undefined;
  readonly srcPort: number | undefined;
  readonly dstPort: number | undefined;
  /** Present (perhaps as an empty text) when a proxy between domains has translated the addresses. */
  readonly origSrcIp: string | undefined;
  readonly origDstIp: string | undefined;
  readonly vni: number | undefined;
  readonly mtuBytes: number | undefined;
}

/** What the asking side offers. */
export function vxlanOffer(options: { srcIp: string; srcPort: number; mtuBytes: number }): Mechanism {
  return makeMechanism(MechanismClass.REMOTE, MechanismType.VXLAN, {
    [vxlanParameter.srcIp]: options.srcIp,
    [vxlanParameter.srcPort]: options.srcPort,
    [vxlanParameter.mtu]: options.mtuBytes,
  });
}

/**
 * @throws INVALID_ARGUMENT when a parameter is malformed; nothing is demanded, that depends on the side
 */
export function parseVxlan(mechanism: Mechanism, connectionId: string): VxlanParameters {
  const read = readParameters(mechanism, connectionId);
  const original = (key: string): string | undefined => (read.has(key) ? read.text(key) : undefined);
  return {
    srcIp: read.address(vxlanParameter.srcIp),
    dstIp: read.address(vxlanParameter.dstIp),
    srcPort: read.integer(vxlanParameter.srcPort, 1, 65_535),
    dstPort: read.integer(vxlanParameter.dstPort, 1, 65_535),
    origSrcIp: original(vxlanParameter.origSrcIp),
    origDstIp: original(vxlanParameter.origDstIp),
    vni: read.integer(vxlanParameter.vni, 1, maxVni),
    mtuBytes: read.integer(vxlanParameter.mtu, 1, maxMtu),
  };
}
