/**
 * Addresses of interfaces: RTM_*ADDR (linux/if_addr.h).
 */
import { AF_INET, AF_INET6 } from "../libc.js";
import * as codec from "./codec.js";
import { addressFrom, formatPrefix, type IpPrefix } from "./ip-address.js";
import type { NetlinkRequest, NetlinkSocket } from "./socket.js";

export interface LinkAddress {
  readonly linkIndex: number;
  readonly prefix: IpPrefix;
  /** 0 = global, 253 = link (rtnetlink(7) rtm_scope). */
  readonly scope: number;
  /** Not usable: duplicate detection runs or has failed. */
  readonly tentative: boolean;
}

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const headerLength = 8;

/**
 * IPv6 is added without duplicate detection. Even so the kernel takes packets for it only when a worker of its own has come round
 * (see `listTakenAddresses`). Equivalent: `ip address add PREFIX dev NAME [nodad]`.
 */
export function addAddress(linkIndex: number, prefix: IpPrefix): NetlinkRequest {
  return {
    verb: `add address ${formatPrefix(prefix)} to link ${linkIndex}`,
    type: RTM_NEWADDR,
    flags: codec.NLM_F_CREATE | codec.NLM_F_EXCL,
    tolerate: ["EEXIST"],
    body: Buffer.concat([header(linkIndex, prefix, prefix.family === AF_INET6 ? IFA_F_NODAD : 0), ...values(prefix)]),
  };
}

/** Equivalent: `ip address delete PREFIX dev NAME`. */
export function deleteAddress(linkIndex: number, prefix: IpPrefix): NetlinkRequest {
  return {
    verb: `delete address ${formatPrefix(prefix)} of link ${linkIndex}`,
    type: RTM_DELADDR,
    flags: 0,
    tolerate: ["EADDRNOTAVAIL", "ENODEV"],
    body: Buffer.concat([header(linkIndex, prefix, 0), ...values(prefix)]),
  };
}

/** Addresses of one interface, or of all. Equivalent: `ip address show [dev NAME]`. */
export function listAddresses(socket: NetlinkSocket, linkIndex = 0): LinkAddress[] {
  const body = Buffer.alloc(headerLength);
  body.writeUInt32LE(linkIndex, 4);
  return socket
    .dump({ verb: `list addresses of link ${linkIndex}`, type: RTM_GETADDR, flags: 0, body })
    .map((message) => decodeAddress(message.body))
    .filter((address) => address !== undefined)
    .filter((address) => linkIndex === 0 || address.linkIndex === linkIndex);
}

/**
 * Reads the body of RTM_NEWADDR; undefined: of a family we do not know.
 * @throws Error when it does not follow the format
 */
export function decodeAddress(body: Buffer): LinkAddress | undefined {
  if (body.length < headerLength) throw codec.formatError(`address of ${body.length} bytes`);
  const attributes = codec.decodeAttributes(body, headerLength);
  const address = addressFrom(body.readUInt8(0), attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS));
  if (address === undefined) return undefined;
  const flags = codec.readUnsigned(attributes.get(IFA_FLAGS)) ?? body.readUInt8(2);
  return {
    linkIndex: body.readUInt32LE(4),
    prefix: { ...address, length: body.readUInt8(1) },
    scope: body.readUInt8(3),
    tentative: (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) !== 0,
  };
}

/** struct ifaddrmsg. */
function header(linkIndex: number, prefix: IpPrefix, flags: number): Buffer {
  const bytes = Buffer.alloc(headerLength);
  bytes.writeUInt8(prefix.family, 0);
  bytes.writeUInt8(prefix.length, 1);
  bytes.writeUInt8(flags, 2);
  bytes.writeUInt32LE(linkIndex, 4);
  return bytes;
}

function values(prefix: IpPrefix): Buffer[] {
  const local = codec.attribute(IFA_LOCAL, prefix.bytes);
  return prefix.family === AF_INET ? [local, codec.attribute(IFA_ADDRESS, prefix.bytes)] : [local];
}
