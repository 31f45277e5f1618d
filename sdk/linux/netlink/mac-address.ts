/**
 * Hardware addresses of Ethernet: six bytes, written aa:bb:cc:dd:ee:ff.
 */
import { createHash, randomBytes } from "node:crypto";
import { Code, statusError } from "../../status.js";

/**
 * Reads an address that one station may have.
 * @throws INVALID_ARGUMENT malformed, a group address, or all zero
 */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `${JSON.stringify(text.slice(0, 100))} is not a hardware address; expected aa:bb:cc:dd:ee:ff`,
    );
  }
  const bytes = Uint8Array.from(text.split(":").map((byte) => Number.parseInt(byte, 16)));
  if (((bytes[0] ?? 0) & 1) === 1 || bytes.every((byte) => byte === 0)) {
    throw statusError(Code.INVALID_ARGUMENT, `hardware address ${text} is a group address or zero, no interface can have it`);
  }
  return bytes;
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** A locally administered unicast address made from `seed`, always the same one. */
export function macFrom(seed: string): string {
  const bytes = createHash("sha256").update(seed).digest().subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return formatMac(bytes);
}

/** A random locally administered unicast address (IEEE 802 bit rules). */
export function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return formatMac(bytes);
}
