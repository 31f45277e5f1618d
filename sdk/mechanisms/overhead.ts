/**
 * What a tunnel takes of the underlay's MTU (pure). Values as NSM's forwarders use them, so that both ends of a
 * connection agree whoever built them: outer IP and UDP headers, the tunnel's own, the inner Ethernet header with a
 * VLAN tag, and for the encrypted ones the padding.
 */
import { MechanismType } from "../api.js";

const overheadBytes = {
  [MechanismType.VXLAN]: { v4: 54, v6: 74 },
  [MechanismType.WIREGUARD]: { v4: 60, v6: 80 },
  [MechanismType.IPSEC]: { v4: 81, v6: 101 },
} as const;

/** Bytes of each underlay packet that are not the workload's; 0 for what is no tunnel. */
export function tunnelOverheadBytes(type: string, underlayFamily: 4 | 6): number {
  if (!isTunnel(type)) return 0;
  return underlayFamily === 4 ? overheadBytes[type].v4 : overheadBytes[type].v6;
}

function isTunnel(type: string): type is keyof typeof overheadBytes {
  return Object.hasOwn(overheadBytes, type);
}
