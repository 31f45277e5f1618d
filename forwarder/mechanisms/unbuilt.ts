/**
 * Mechanisms that are negotiated and never built: what `--dataplane none` offers beside those that have a file here.
 * They carry the addresses that a peer expects and no keys.
 */
import { MechanismClass, MechanismType, Payload } from "../../sdk/api.js";
import type { Mechanism } from "../../sdk/gen/connection.js";
import { memifMechanism, parseMemif } from "../../sdk/mechanisms/memif.js";
import { makeMechanism, sharedParameter, withParameters } from "../../sdk/mechanisms/parameters.js";
import { defaultWireguardPort } from "../../sdk/mechanisms/wireguard.js";
import { type MechanismKind, plain } from "./mechanism.js";

/** UDP port of IPsec NAT traversal (RFC 3948). */
const ipsecPort = 4500;

export function unbuiltKinds(tunnelAddress: string): MechanismKind[] {
  return [
    memifKind(),
    tunnelKind(MechanismType.WIREGUARD, tunnelAddress, defaultWireguardPort),
    tunnelKind(MechanismType.IPSEC, tunnelAddress, ipsecPort),
  ];
}

function memifKind(): MechanismKind {
  const port = () => ({ kind: "noop", mechanism: MechanismType.MEMIF }) as const;
  return {
    ...plain,
    type: MechanismType.MEMIF,
    classes: [MechanismClass.LOCAL],
    payloads: [Payload.ETHERNET, Payload.IP],
    async accept(connection, mechanism) {
      const socketFile = parseMemif(mechanism, connection.id).socketFile || `@memif/${connection.id}/memif.socket`;
      return withParameters(mechanism, { socketfile: socketFile });
    },
    offer: async () => memifMechanism({}),
    clientPort: port,
    endpointPort: port,
  };
}

function tunnelKind(type: MechanismType, tunnelAddress: string, udpPort: number): MechanismKind {
  const port = () => ({ kind: "noop", mechanism: type }) as const;
  const { srcIp, srcPort, dstIp, dstPort } = sharedParameter;
  return {
    ...plain,
    type,
    classes: [MechanismClass.REMOTE],
    payloads: [Payload.IP],
    accept: async (_connection, mechanism: Mechanism) =>
      withParameters(mechanism, { [dstIp]: tunnelAddress, [dstPort]: udpPort }),
    offer: async () => makeMechanism(MechanismClass.REMOTE, type, { [srcIp]: tunnelAddress, [srcPort]: udpPort }),
    clientPort: port,
    endpointPort: port,
  };
}
