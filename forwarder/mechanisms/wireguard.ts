/**
 * WIREGUARD on a forwarder: IP packets between nodes, encrypted. Each side writes its address, its UDP port and its
 * public key; both are the connection's own, and a refresh writes the same again (NSM: mechanisms/wireguard) until they are
 * rotated (wireguard-rotation.ts).
 */
import { MechanismClass, MechanismType, Payload } from "../../sdk/api.js";
import type { Connection, Mechanism } from "../../sdk/gen/connection.js";
import { parseAddress } from "../../sdk/ip.js";
import { withParameters } from "../../sdk/mechanisms/parameters.js";
import { defaultWireguardPort, parseWireguard, wireguardOffer, wireguardParameter } from "../../sdk/mechanisms/wireguard.js";
import { Code, statusError } from "../../sdk/status.js";
import type { DataPlane, WireguardPort, WireguardTunnel } from "../dataplane/dataplane.js";
import { lowestMtuBytes } from "../mtu.js";
import type { PathMtus } from "../path-mtu.js";
import type { RemoteEnd, WireguardEnd } from "../wireguard-ends.js";
import type { MechanismKind } from "./mechanism.js";
import { ownTunnelMtu } from "./own-mtu.js";
import { answerKeys, awaitsProof, proposeKeys, type RotationOptions, takeAnswer } from "./wireguard-rotation.js";

export interface WireguardOptions extends RotationOptions {
  readonly tunnelAddress: string;
  readonly dataPlane: RotationOptions["dataPlane"] & Pick<DataPlane, "underlayMtuBytes">;
  /** What is known of the paths to other nodes; absent = only the link counts. */
  readonly pathMtus?: PathMtus | undefined;
}

/** The end of another forwarder. */
interface Remote extends RemoteEnd {
  readonly address: string;
}

export function wireguardKind(options: WireguardOptions): MechanismKind {
  const { tunnelAddress, ends, dataPlane } = options;
  const ownMtu = ownTunnelMtu(MechanismType.WIREGUARD, tunnelAddress, dataPlane, options.pathMtus);
  const otherAddress = (connection: Connection, mechanism: Mechanism): string | undefined => {
    const { srcIp, dstIp } = parseWireguard(mechanism, connection.id);
    return srcIp === tunnelAddress ? dstIp : srcIp;
  };
  return {
    type: MechanismType.WIREGUARD,
    classes: [MechanismClass.REMOTE],
    payloads: [Payload.IP],
    async accept(connection, mechanism) {
      const remote = remoteOf(connection, mechanism, "asks", options);
      const asked = parseWireguard(mechanism, connection.id);
      const answered = await answerKeys(connection.id, mechanism, remote, options);
      return withParameters(answered, {
        [wireguardParameter.dstIp]: tunnelAddress,
        [wireguardParameter.mtu]: lowestMtuBytes(asked.mtuBytes, await ownMtu.of(remote.address)),
      });
    },
    async offer(connection) {
      const { listenPort: srcPort, publicKey: srcPublicKey } = await ends.hold(connection.id);
      return wireguardOffer({ srcIp: tunnelAddress, srcPort, srcPublicKey, mtuBytes: await ownMtu.of() });
    },
    async renew(connection, agreed) {
      const proposed = await proposeKeys(connection.id, agreed, options);
      return withParameters(proposed, { [wireguardParameter.mtu]: await ownMtu.of(otherAddress(connection, agreed)) });
    },
    wantsAnotherRound: (connection) => awaitsProof(connection.id, options),
    async mtuBytes(connection, mechanism) {
      const { mtuBytes } = parseWireguard(mechanism, connection.id);
      return lowestMtuBytes(mtuBytes, await ownMtu.of(otherAddress(connection, mechanism)));
    },
    provenMtuBytes: (connection, mechanism) => ownMtu.proven(otherAddress(connection, mechanism)),
    clientPort: (connection, mechanism) => port(connection, remoteOf(connection, mechanism, "asks", options), options),
    endpointPort(connection, mechanism) {
      const remote = remoteOf(connection, mechanism, "answers", options);
      takeAnswer(connection.id, mechanism, remote, ends);
      return port(connection, remote, options);
    },
    withMtu: (mechanism: Mechanism, mtuBytes) => withParameters(mechanism, { [wireguardParameter.mtu]: mtuBytes }),
    release: (connectionId) => ends.release(connectionId),
  };
}

function port(connection: Connection, remote: Remote, { ends, tunnelAddress }: WireguardOptions): WireguardPort {
  const held = ends.held(connection.id);
  if (held === undefined) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `connection ${connection.id}: this forwarder has no key for it any more; close the connection and ask anew`,
    );
  }
  const { main, beside } = held;
  return {
    kind: "wireguard",
    ...tunnelOf(main, remote),
    localAddress: tunnelAddress,
    remoteAddress: remote.address,
    ...(beside?.remote === undefined ? {} : { beside: tunnelOf(beside, beside.remote) }),
  };
}

function tunnelOf({ privateKey, listenPort, madeAtMs }: WireguardEnd, remote: RemoteEnd): WireguardTunnel {
  return { privateKey, listenPort, remotePort: remote.port, remotePublicKey: remote.publicKey, madeAtMs };
}

/** The other end, if a tunnel between it and ours can work. */
function remoteOf(connection: Connection, mechanism: Mechanism, verb: "asks" | "answers", options: WireguardOptions): Remote {
  const { srcIp, srcPort, srcPublicKey, dstIp, dstPort, dstPublicKey } = parseWireguard(mechanism, connection.id);
  const who = `connection ${connection.id}: the forwarder that ${verb}`;
  const [address, udpPort, publicKey] = verb === "asks" ? [srcIp, srcPort, srcPublicKey] : [dstIp, dstPort, dstPublicKey];
  const { srcIp: srcIpKey, dstIp: dstIpKey, srcPublicKey: srcKeyKey, dstPublicKey: dstKeyKey } = wireguardParameter;
  const missing = [
    ...(address === undefined ? [verb === "asks" ? srcIpKey : dstIpKey] : []),
    ...(publicKey === undefined ? [verb === "asks" ? srcKeyKey : dstKeyKey] : []),
  ];
  if (address === undefined || publicKey === undefined) {
    const text = `${who} wrote no ${missing.join(" and no ")} into the WIREGUARD mechanism; it must give its tunnel address and key`;
    throw statusError(Code.INVALID_ARGUMENT, text);
  }
  if (parseAddress(address)?.family !== parseAddress(options.tunnelAddress)?.family) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `${who} has the tunnel address ${address} and this one ${options.tunnelAddress}; set NSM_TUNNEL_IP of both to one IP family`,
    );
  }
  return { address, port: udpPort ?? defaultWireguardPort, publicKey };
}
