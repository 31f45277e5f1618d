/**
 * IP addresses and prefixes as numbers (pure).
 * Text forms: RFC 4632 (IPv4 CIDR), RFC 4291 §2.2 (IPv6), written as RFC 5952 asks.
 */
import { isIPv4, isIPv6 } from "node:net";

export type Family = 4 | 6;

export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

/** First and last address, both included. */
export interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

/** An address with a prefix length: an interface address ("10.0.0.1/24") or a network ("10.0.0.0/24"). */
export interface Prefix extends Address {
  /** Bits: 0 … 32 or 0 … 128. */
  readonly length: number;
}

export function addressBits(family: Family): number {
  return family === 4 ? 32 : 128;
}

/** Undefined if it is not an address; zones ("fe80::1%eth0") are not accepted. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 4, value: parseIPv4(text) };
  if (isIPv6(text) && !text.includes("%")) return { family: 6, value: parseIPv6(text) };
  return undefined;
}

/** "10.0.0.0/24", "2001:db8::/64", or an address alone, which is a host prefix. Undefined if malformed. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const bits = addressBits(address.family);
  if (slash < 0) return { ...address, length: bits };
  const lengthText = text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(lengthText)) return undefined;
  const length = Number(lengthText);
  return length > bits ? undefined : { ...address, length };
}

export function rangeOf(prefix: Prefix): Range {
  const hostBits = BigInt(addressBits(prefix.family) - prefix.length);
  const first = (prefix.value >> hostBits) << hostBits;
  return { first, last: first + (1n << hostBits) - 1n };
}

export function inRange(value: bigint, range: Range): boolean {
  return value >= range.first && value <= range.last;
}

/** Sorted, without overlaps and without gaps of nothing between neighbours. */
export function mergeRanges(ranges: readonly Range[]): Range[] {
  const sorted = [...ranges].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const merged: Range[] = [];
  for (const range of sorted) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1n) {
      if (range.last > previous.last) merged[merged.length - 1] = { first: previous.first, last: range.last };
    } else {
      merged.push(range);
    }
  }
  return merged;
}

export function formatAddress({ family, value }: Address): string {
  return family === 4 ? formatIPv4(value) : formatIPv6(value);
}

/** "10.0.0.1/32" or "2001:db8::1/128". */
export function hostPrefix(address: Address): string {
  return `${formatAddress(address)}/${addressBits(address.family)}`;
}

function parseIPv4(text: string): bigint {
  return text.split(".").reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

function parseIPv6(text: string): bigint {
  const lastColon = text.lastIndexOf(":");
  const tail = text.slice(lastColon + 1);
  let hex = text;
  if (tail.includes(".")) {
    const v4 = parseIPv4(tail);
    hex = `${text.slice(0, lastColon + 1)}${(v4 >> 16n).toString(16)}:${(v4 & 0xffffn).toString(16)}`;
  }
  const [left = "", right] = hex.split("::");
  const head = left === "" ? [] : left.split(":");
  const end = right === undefined || right === "" ? [] : right.split(":");
  const zeros = new Array<string>(8 - head.length - end.length).fill("0");
  return [...head, ...zeros, ...end].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

function formatIPv4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join(".");
}

function formatIPv6(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(112 - 16 * index)) & 0xffffn));
  let bestStart = -1;
  let bestLength = 1; // RFC 5952 §4.2.2: one zero group is not shortened
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > bestLength) {
      bestStart = start;
      bestLength = end - start;
    }
  }
  const text = groups.map((group) => group.toString(16));
  if (bestStart < 0) return text.join(":");
  return `${text.slice(0, bestStart).join(":")}::${text.slice(bestStart + bestLength).join(":")}`;
}
