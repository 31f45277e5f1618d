/**
 * Permanent neighbour entries, which spare ARP and neighbour discovery: RTM_*NEIGH (linux/neighbour.h).
 */
import * as codec from "./codec.js";
import { addressFrom, formatAddress, type IpAddress } from "./ip-address.js";
import { formatMac, parseMac } from "./mac-address.js";
import { weftProtocol } from "./routes.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

export interface Neighbor {
  readonly linkIndex: number;
  readonly address: IpAddress;
  readonly macAddress: string;
  readonly permanent: boolean;
  /** Who made it, as with routes; 0 = nobody says, as before Linux 5.2. */
  readonly protocol: number;
}

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_IFINDEX = 8;
const NDA_PROTOCOL = 12;
const NUD_PERMANENT = 0x80;
const headerLength = 12;

/** Replaces what was known of the address. Equivalent: `ip neighbour replace ADDRESS lladdr MAC dev NAME nud permanent protocol 87`. */
export function setNeighbor(linkIndex: number, address: IpAddress, macAddress: string): NetlinkRequest {
  return {
    verb: `set neighbor ${formatAddress(address)} ${macAddress} of link ${linkIndex}`,
    type: RTM_NEWNEIGH,
    flags: codec.NLM_F_CREATE | codec.NLM_F_REPLACE,
    body: Buffer.concat([
      header(address.family, linkIndex, NUD_PERMANENT),
      codec.attribute(NDA_DST, address.bytes),
      codec.attribute(NDA_LLADDR, parseMac(macAddress)),
      codec.u8(NDA_PROTOCOL, weftProtocol),
    ]),
  };
}

/** Equivalent: `ip neighbour delete ADDRESS dev NAME`. */
export function deleteNeighbor(linkIndex: number, address: IpAddress): NetlinkRequest {
  return {
    verb: `delete neighbor ${formatAddress(address)} of link ${linkIndex}`,
    type: RTM_DELNEIGH,
    flags: 0,
    tolerate: ["ENOENT", "ENODEV"],
    body: Buffer.concat([header(address.family, linkIndex, 0), codec.attribute(NDA_DST, address.bytes)]),
  };
}

/** Equivalent: `ip neighbour show dev NAME`. */
export function listNeighbors(socket: NetlinkSocket, linkIndex: number): Neighbor[] {
  const body = Buffer.concat([Buffer.alloc(headerLength), codec.u32(NDA_IFINDEX, linkIndex)]);
  return socket
    .dump({ verb: `list neighbors of link ${linkIndex}`, type: RTM_GETNEIGH, flags: 0, body })
    .map((message) => decodeNeighbor(message.body))
    .filter((neighbor) => neighbor !== undefined)
    .filter((neighbor) => neighbor.linkIndex === linkIndex);
}

/**
 * Reads the body of RTM_NEWNEIGH; undefined: of another family.
 * @throws Error when it does not follow the format
 */
export function decodeNeighbor(body: Buffer): Neighbor | undefined {
  if (body.length < headerLength) throw codec.formatError(`neighbor of ${body.length} bytes`);
  const attributes = codec.decodeAttributes(body, headerLength);
  const address = addressFrom(body.readUInt8(0), attributes.get(NDA_DST));
  if (address === undefined) return undefined;
  return {
    linkIndex: body.readInt32LE(4),
    address,
    macAddress: formatMac(attributes.get(NDA_LLADDR) ?? new Uint8Array()),
    protocol: attributes.get(NDA_PROTOCOL)?.[0] ?? 0,
    permanent: (body.readUInt16LE(8) & NUD_PERMANENT) !== 0,
  };
}

/** struct ndmsg. */
function header(family: number, linkIndex: number, state: number): Buffer {
  const bytes = Buffer.alloc(headerLength);
  bytes.writeUInt8(family, 0);
  bytes.writeInt32LE(linkIndex, 4);
  bytes.writeUInt16LE(state, 8);
  return bytes;
}
