/**
 * IP addresses and prefixes as the kernel wants them: family and bytes in network order.
 */
import { isIPv4, isIPv6 } from "node:net";
import { Code, statusError } from "../../status.js";
import { AF_INET, AF_INET6 } from "../libc.js";

export type Family = typeof AF_INET | typeof AF_INET6;

export interface IpAddress {
  readonly family: Family;
  readonly bytes: Uint8Array;
}

export interface IpPrefix extends IpAddress {
  readonly length: number;
}

/** Bits of an address: 32 or 128. */
export function addressBits(family: Family): number {
  return family === AF_INET ? 32 : 128;
}

/**
 * Reads an address. Zones ("%eth0") are refused.
 * @throws INVALID_ARGUMENT
 */
export function parseAddress(text: string): IpAddress {
  if (isIPv4(text)) return { family: AF_INET, bytes: Uint8Array.from(text.split(".").map(Number)) };
  if (isIPv6(text) && !text.includes("%")) return { family: AF_INET6, bytes: parseIpv6(text) };
  throw statusError(Code.INVALID_ARGUMENT, `${JSON.stringify(text.slice(0, 100))} is not an IP address`);
}

/**
 * Reads "address/length"; a bare address means all its bits. Host bits are kept.
 * @throws INVALID_ARGUMENT
 */
export function parsePrefix(text: string): IpPrefix {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  const bits = addressBits(address.family);
  if (slash < 0) return { ...address, length: bits };
  const length = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(length) || Number(length) > bits) {
    throw statusError(Code.INVALID_ARGUMENT, `${JSON.stringify(text.slice(0, 100))}: prefix length must be 0…${bits}`);
  }
  return { ...address, length: Number(length) };
}

/** The prefix with its host bits cleared: 10.0.0.7/8 → 10.0.0.0/8. */
export function networkOf(prefix: IpPrefix): IpPrefix {
  const bytes = prefix.bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix.length - index * 8))));
  return { ...prefix, bytes };
}

/** Dotted or colon form, IPv6 as RFC 5952 wants it but for embedded IPv4. */
export function formatAddress({ family, bytes }: IpAddress): string {
  if (family === AF_INET) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
  );
  return compress(groups);
}

export function formatPrefix(prefix: IpPrefix): string {
  return `${formatAddress(prefix)}/${prefix.length}`;
}

/** An address out of a netlink attribute; undefined when absent or of the wrong size. */
export function addressFrom(family: number, bytes: Uint8Array | undefined): IpAddress | undefined {
  if (family === AF_INET && bytes?.length === 4) return { family: AF_INET, bytes: Uint8Array.from(bytes) };
  if (family === AF_INET6 && bytes?.length === 16) return { family: AF_INET6, bytes: Uint8Array.from(bytes) };
  return undefined;
}

/** struct sockaddr_in or sockaddr_in6. */
export function socketAddress(address: IpAddress, port: number): Uint8Array {
  const bytes = Buffer.alloc(address.family === AF_INET ? 16 : 28);
  bytes.writeUInt16LE(address.family, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(address.bytes, address.family === AF_INET ? 4 : 8);
  return bytes;
}

function parseIpv6(text: string): Uint8Array {
  // An embedded IPv4 tail becomes two groups.
  const lastColon = text.lastIndexOf(":");
  const tail = text.slice(lastColon + 1);
  let plain = text;
  if (tail.includes(".")) {
    const [a = 0, b = 0, c = 0, d = 0] = tail.split(".").map(Number);
    plain = `${text.slice(0, lastColon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [head = "", rest] = plain.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = rest === undefined || rest === "" ? [] : rest.split(":");
  const groups = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => "0"), ...after];
  return Uint8Array.from(groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]));
}

function compress(groups: readonly string[]): string {
  let best = { start: -1, length: 1 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === "0") length++;
    if (length > best.length) best = { start, length };
  }
  if (best.start < 0) return groups.join(":");
  return `${groups.slice(0, best.start).join(":")}::${groups.slice(best.start + best.length).join(":")}`;
}
