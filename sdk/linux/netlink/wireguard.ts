/**
 * WireGuard interfaces of the kernel (linux/wireguard.h): the interface itself is made over rtnetlink (links.ts), its keys,
 * port and peers are set over generic netlink. A private key goes in and never comes out again: it is not decoded.
 */
import { AF_INET, AF_INET6 } from "../libc.js";
import type { WireguardConfiguration } from "../wireguard-uapi.js";
import * as codec from "./codec.js";
import { genericHeaderLength, genericRequest } from "./generic.js";
import { addressFrom, formatAddress, type IpPrefix, parseAddress, parsePrefix } from "./ip-address.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

/** An interface as the kernel describes it. */
export interface WireguardDevice {
  readonly index: number;
  readonly name: string;
  /** 0: not chosen yet. */
  readonly listenPort: number;
  /** In standard base64; empty: it has no key. */
  readonly publicKey: string;
  readonly peers: readonly WireguardPeer[];
}

export interface WireguardPeer {
  readonly publicKey: string;
  /** Undefined: it has not been heard of. */
  readonly endpoint: { readonly address: string; readonly port: number } | undefined;
  readonly keepaliveSeconds: number;
  /** Milliseconds since the epoch; 0: no handshake has been completed. */
  readonly lastHandshakeMs: number;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly allowedIps: readonly IpPrefix[];
}

/** Name of the family, and of the kind of link. */
export const wireguardFamily = "wireguard";
const version = 1;
const WG_CMD_GET_DEVICE = 0;
const WG_CMD_SET_DEVICE = 1;
const WGDEVICE_A_IFINDEX = 1;
const WGDEVICE_A_IFNAME = 2;
const WGDEVICE_A_PRIVATE_KEY = 3;
const WGDEVICE_A_PUBLIC_KEY = 4;
const WGDEVICE_A_FLAGS = 5;
const WGDEVICE_A_LISTEN_PORT = 6;
const WGDEVICE_A_PEERS = 8;
const WGDEVICE_F_REPLACE_PEERS = 1;
const WGPEER_A_PUBLIC_KEY = 1;
const WGPEER_A_FLAGS = 3;
const WGPEER_A_ENDPOINT = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL = 5;
const WGPEER_A_LAST_HANDSHAKE_TIME = 6;
const WGPEER_A_RX_BYTES = 7;
const WGPEER_A_TX_BYTES = 8;
const WGPEER_A_ALLOWEDIPS = 9;
const WGPEER_F_REPLACE_ALLOWEDIPS = 2;
const WGALLOWEDIP_A_FAMILY = 1;
const WGALLOWEDIP_A_IPADDR = 2;
const WGALLOWEDIP_A_CIDR_MASK = 3;
const keyBytes = 32;

/** Every address is allowed: what enters the tunnel was routed there. */
const everything: readonly IpPrefix[] = [parsePrefix("0.0.0.0/0"), parsePrefix("::/0")];

/** Replaces whatever the interface had. Equivalent: `wg set NAME private-key K listen-port P peer K endpoint A:P …`. */
export function setWireguard(family: number, index: number, wanted: WireguardConfiguration): NetlinkRequest {
  return genericRequest({
    family,
    command: WG_CMD_SET_DEVICE,
    version,
    verb: `configure wireguard interface ${index} on UDP port ${wanted.listenPort}`,
    attributes: [
      codec.u32(WGDEVICE_A_IFINDEX, index),
      codec.u32(WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS),
      codec.attribute(WGDEVICE_A_PRIVATE_KEY, Buffer.from(wanted.privateKey, "base64")),
      codec.u16(WGDEVICE_A_LISTEN_PORT, wanted.listenPort),
      codec.nested(
        WGDEVICE_A_PEERS,
        encodePeer({
          publicKey: wanted.peerPublicKey,
          endpoint: { address: wanted.peerAddress, port: wanted.peerPort },
          keepaliveSeconds: wanted.keepaliveSeconds,
          allowedIps: everything,
        }),
      ),
    ],
  });
}

/** One interface by index, in the socket's namespace. Equivalent: `wg show NAME dump`. */
export function getWireguard(socket: NetlinkSocket, family: number, index: number): WireguardDevice | undefined {
  const request = genericRequest({
    family,
    command: WG_CMD_GET_DEVICE,
    version,
    verb: `get wireguard interface ${index}`,
    attributes: [codec.u32(WGDEVICE_A_IFINDEX, index)],
  });
  const [reply] = socket.dump(request);
  return reply === undefined ? undefined : decodeWireguard(reply.body);
}

type WantedPeer = Pick<WireguardPeer, "publicKey" | "endpoint" | "keepaliveSeconds" | "allowedIps">;

/** One element of the list of peers. Elements of a list have no type of their own. */
export function encodePeer({ publicKey, endpoint, keepaliveSeconds, allowedIps }: WantedPeer): Buffer {
  return codec.nested(
    0,
    codec.attribute(WGPEER_A_PUBLIC_KEY, Buffer.from(publicKey, "base64")),
    codec.u32(WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS),
    ...(endpoint === undefined ? [] : [codec.attribute(WGPEER_A_ENDPOINT, encodeEndpoint(endpoint))]),
    codec.u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, keepaliveSeconds),
    codec.nested(WGPEER_A_ALLOWEDIPS, ...allowedIps.map(encodeAllowedIp)),
  );
}

function encodeAllowedIp({ family, bytes, length }: IpPrefix): Buffer {
  return codec.nested(
    0,
    codec.u16(WGALLOWEDIP_A_FAMILY, family),
    codec.attribute(WGALLOWEDIP_A_IPADDR, bytes),
    codec.u8(WGALLOWEDIP_A_CIDR_MASK, length),
  );
}

/** struct sockaddr_in or sockaddr_in6. */
function encodeEndpoint({ address, port }: { readonly address: string; readonly port: number }): Buffer {
  const { family, bytes } = parseAddress(address);
  const sockaddr = Buffer.alloc(family === AF_INET ? 16 : 28);
  sockaddr.writeUInt16LE(family);
  sockaddr.writeUInt16BE(port, 2);
  sockaddr.set(bytes, family === AF_INET ? 4 : 8);
  return sockaddr;
}

/**
 * Reads the body of an answer to WG_CMD_GET_DEVICE.
 * @throws Error when it does not follow the format
 */
export function decodeWireguard(body: Buffer): WireguardDevice {
  if (body.length < genericHeaderLength) throw codec.formatError(`wireguard interface of ${body.length} bytes`);
  const attributes = codec.decodeAttributes(body, genericHeaderLength);
  return {
    index: codec.readUnsigned(attributes.get(WGDEVICE_A_IFINDEX)) ?? 0,
    name: codec.readString(attributes.get(WGDEVICE_A_IFNAME)),
    listenPort: codec.readUnsigned(attributes.get(WGDEVICE_A_LISTEN_PORT)) ?? 0,
    publicKey: readKey(attributes.get(WGDEVICE_A_PUBLIC_KEY)),
    peers: codec.decodeList(attributes.get(WGDEVICE_A_PEERS)).map(decodePeer),
  };
}

function decodePeer(bytes: Buffer): WireguardPeer {
  const attributes = codec.decodeAttributes(bytes);
  return {
    publicKey: readKey(attributes.get(WGPEER_A_PUBLIC_KEY)),
    endpoint: readEndpoint(attributes.get(WGPEER_A_ENDPOINT)),
    keepaliveSeconds: codec.readUnsigned(attributes.get(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL)) ?? 0,
    lastHandshakeMs: readTime(attributes.get(WGPEER_A_LAST_HANDSHAKE_TIME)),
    rxBytes: readCount(attributes.get(WGPEER_A_RX_BYTES)),
    txBytes: readCount(attributes.get(WGPEER_A_TX_BYTES)),
    allowedIps: codec.decodeList(attributes.get(WGPEER_A_ALLOWEDIPS)).flatMap(decodeAllowedIp),
  };
}

function decodeAllowedIp(bytes: Buffer): IpPrefix[] {
  const attributes = codec.decodeAttributes(bytes);
  const family = codec.readUnsigned(attributes.get(WGALLOWEDIP_A_FAMILY)) ?? 0;
  const address = addressFrom(family, attributes.get(WGALLOWEDIP_A_IPADDR));
  const length = codec.readUnsigned(attributes.get(WGALLOWEDIP_A_CIDR_MASK));
  return address === undefined || length === undefined ? [] : [{ ...address, length }];
}

/** All zero is how the kernel says that there is none. */
function readKey(bytes: Buffer | undefined): string {
  return bytes?.length === keyBytes && bytes.some((byte) => byte !== 0) ? bytes.toString("base64") : "";
}

function readEndpoint(bytes: Buffer | undefined): WireguardPeer["endpoint"] {
  if (bytes === undefined || bytes.length < 16) return undefined;
  const family = bytes.readUInt16LE();
  const raw = family === AF_INET ? bytes.subarray(4, 8) : family === AF_INET6 ? bytes.subarray(8, 24) : undefined;
  const address = addressFrom(family, raw);
  return address === undefined ? undefined : { address: formatAddress(address), port: bytes.readUInt16BE(2) };
}

/** struct __kernel_timespec. */
function readTime(bytes: Buffer | undefined): number {
  if (bytes?.length !== 16) return 0;
  return Number(bytes.readBigInt64LE()) * 1000 + Math.floor(Number(bytes.readBigInt64LE(8)) / 1_000_000);
}

function readCount(bytes: Buffer | undefined): bigint {
  return bytes?.length === 8 ? bytes.readBigUInt64LE() : 0n;
}
