/**
 * WIREGUARD: IP packets, encrypted, in UDP between two nodes.
 * Keys and meaning: NSM api, mechanisms/wireguard. The asking side writes src_*, the answering side dst_*.
 */
import { MechanismClass, MechanismType } from "../api.js";
import type { Mechanism } from "../gen/connection.js";
import { makeMechanism, readParameters, sharedParameter } from "./parameters.js";

export const wireguardParameter = {
  srcIp: sharedParameter.srcIp,
  dstIp: sharedParameter.dstIp,
  srcPort: sharedParameter.srcPort,
  dstPort: sharedParameter.dstPort,
  srcPublicKey: "src_public_key",
  dstPublicKey: "dst_public_key",
  /** Keys and ports of a second tunnel, which is going to take the place of the first: Weft's own, others pass them over. */
  srcNextPort: "src_next_port",
  dstNextPort: "dst_next_port",
  srcNextPublicKey: "src_next_public_key",
  dstNextPublicKey: "dst_next_public_key",
  mtu: sharedParameter.mtu,
} as const;

/** Of a peer that names none; our own connections take ports from here up. */
export const defaultWireguardPort = 51_820;
const keyBytes = 32;
const maxMtu = 65_535;

export interface WireguardNext {
  readonly publicKey: string;
  readonly port: number;
}

export interface WireguardParameters {
  readonly srcIp: string | undefined;
  readonly dstIp: string | undefined;
  readonly srcPort: number | undefined;
  readonly dstPort: number | undefined;
  /** 32 bytes of Curve25519 in standard base64. */
  readonly srcPublicKey: string | undefined;
  readonly dstPublicKey: string | undefined;
  /** Undefined when one half of it is missing. */
  readonly srcNext: WireguardNext | undefined;
  readonly dstNext: WireguardNext | undefined;
  readonly mtuBytes: number | undefined;
}

/** What the asking side offers. */
export function wireguardOffer(options: { srcIp: string; srcPort: number; srcPublicKey: string; mtuBytes: number }): Mechanism {
  return makeMechanism(MechanismClass.REMOTE, MechanismType.WIREGUARD, {
    [wireguardParameter.srcIp]: options.srcIp,
    [wireguardParameter.srcPort]: options.srcPort,
    [wireguardParameter.srcPublicKey]: options.srcPublicKey,
    [wireguardParameter.mtu]: options.mtuBytes,
  });
}

/** @throws INVALID_ARGUMENT when a parameter is malformed */
export function parseWireguard(mechanism: Mechanism, connectionId: string): WireguardParameters {
  const read = readParameters(mechanism, connectionId);
  const key = (name: string): string | undefined => {
    const text = read.text(name);
    if (text === "") return undefined;
    const bytes = Buffer.from(text, "base64");
    if (bytes.length !== keyBytes || bytes.toString("base64") !== text) {
      throw read.refuse(name, `a public key: ${keyBytes} bytes in standard base64`);
    }
    return text;
  };
  const next = (keyName: string, portName: string): WireguardNext | undefined => {
    const publicKey = key(keyName);
    const port = read.integer(portName, 1, 65_535);
    return publicKey === undefined || port === undefined ? undefined : { publicKey, port };
  };
  return {
    srcIp: read.address(wireguardParameter.srcIp),
    dstIp: read.address(wireguardParameter.dstIp),
    srcPort: read.integer(wireguardParameter.srcPort, 1, 65_535),
    dstPort: read.integer(wireguardParameter.dstPort, 1, 65_535),
    srcPublicKey: key(wireguardParameter.srcPublicKey),
    dstPublicKey: key(wireguardParameter.dstPublicKey),
    srcNext: next(wireguardParameter.srcNextPublicKey, wireguardParameter.srcNextPort),
    dstNext: next(wireguardParameter.dstNextPublicKey, wireguardParameter.dstNextPort),
    mtuBytes: read.integer(wireguardParameter.mtu, 1, maxMtu),
  };
}
