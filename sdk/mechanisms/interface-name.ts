/**
 * Names of network interfaces in a workload's namespace (pure).
 * Rules: 1 … 15 bytes, no "/", ":" or white space, not "." or ".." (dev_valid_name in Linux' net/core/dev.c;
 * IFNAMSIZ in linux/if.h).
 */
import { createHash } from "node:crypto";
import { Code, statusError } from "../status.js";

/** Longest interface name in bytes: IFNAMSIZ − 1. */
export const maxInterfaceNameBytes = 15;

const hashedPrefixBytes = 8;
const generatedPrefixBytes = 10;
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Index of the first character that no interface name may have, or −1. Length is not looked at. */
export function badInterfaceCharacter(name: string): number {
  if (name === "." || name === "..") return 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is searched for
  return name.search(/[\u0000-\u0020\u007f-\u00a0/:%\ufeff]|\s/u);
}

/**
 * Checks a name that is to be given to the kernel.
 * @throws INVALID_ARGUMENT with the rule that is broken
 */
export function checkInterfaceName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0) throw statusError(Code.INVALID_ARGUMENT, "interface name is empty; give one of 1 to 15 bytes");
  if (bytes > maxInterfaceNameBytes) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `interface name "${name.slice(0, 64)}" has ${bytes} bytes, the kernel allows ${maxInterfaceNameBytes}; shorten it`,
    );
  }
  const bad = badInterfaceCharacter(name);
  if (bad >= 0) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `interface name ${JSON.stringify(name)} has a character at ${bad + 1} that the kernel refuses; ` +
        `use no "/", ":", "%" or white space`,
    );
  }
}

/**
 * The name as the kernel can take it: unchanged up to 15 bytes, else its first 8 bytes, "-" and 6 characters of its
 * hash. Equal names give equal results; two long names with one beginning do not collide (2^35 results).
 */
export function fitInterfaceName(name: string): string {
  if (Buffer.byteLength(name) <= maxInterfaceNameBytes) return name;
  return `${cutToBytes(name, hashedPrefixBytes)}-${suffix(name, 6)}`;
}

/**
 * A name for an interface that was asked for without one: 10 bytes of the service's name, "-", and characters made
 * from `seed`; always 15 bytes (rule of NSM's generated names, which are random: ours are the same for the same seed).
 * @param seed  what makes it unique in its namespace, as a rule the connection id
 */
export function generateInterfaceName(networkService: string, seed: string): string {
  const service = networkService.replace(/@.*$/s, "").replace(/[^A-Za-z0-9._-]/g, "");
  const prefix = `${cutToBytes(service || "nsm", generatedPrefixBytes)}-`;
  return prefix + suffix(`${networkService}\n${seed}`, maxInterfaceNameBytes - prefix.length);
}

/** As many whole characters of the text as fit into so many bytes. */
function cutToBytes(text: string, bytes: number): string {
  let cut = "";
  for (const character of text) {
    if (Buffer.byteLength(cut + character) > bytes) break;
    cut += character;
  }
  return cut;
}

function suffix(text: string, length: number): string {
  const digest = createHash("sha256").update(text).digest();
  let value = digest.readBigUInt64BE(0) * 2n ** 64n + digest.readBigUInt64BE(8);
  let result = "";
  for (let i = 0; i < length; i++) {
    result += alphabet[Number(value % 62n)];
    value /= 62n;
  }
  return result;
}
