/**
 * excluded-prefixes — the list of address ranges no endpoint may hand out, as text and as a rule (pure).
 * Form of the file: YAML, one list under the key `prefixes`, whose letters may be of any case.
 */
import { isIPv4, isIPv6 } from "node:net";
import { parse } from "yaml";

/** Larger files are refused: the list goes into every request. */
export const maxPrefixes = 4096;

/**
 * Reads the content of the file.
 * @throws Error with a text that names what is wrong; nothing of a wrong file is taken
 */
export function parseExcludedPrefixes(text: string): string[] {
  const content: unknown = parse(text, { maxAliasCount: 100, logLevel: "error" });
  if (content === null || content === undefined) return [];
  if (typeof content !== "object" || Array.isArray(content)) throw new Error("expected a map with the key `prefixes`");
  const entry = Object.entries(content).find(([key]) => key.toLowerCase() === "prefixes");
  if (entry === undefined) throw new Error("the key `prefixes` is missing");
  const list: unknown = entry[1] ?? [];
  if (!Array.isArray(list)) throw new Error("`prefixes` is not a list");
  if (list.length > maxPrefixes) throw new Error(`${list.length} prefixes, more than ${maxPrefixes}`);
  for (const prefix of list) {
    if (typeof prefix !== "string" || !isPrefix(prefix)) throw new Error(`${JSON.stringify(prefix)} is not an IP prefix`);
  }
  return [...new Set(list as string[])];
}

/** Those of `additional` that `present` lacks, in order. */
export function missingFrom(present: readonly string[], additional: readonly string[]): string[] {
  const known = new Set(present);
  return additional.filter((prefix) => !known.has(prefix));
}

/** An address, or an address and a mask length: `10.0.0.0/8`, `fd00::/8`. */
export function isPrefix(text: string): boolean {
  const match = /^([0-9a-fA-F.:]+)(?:\/(\d{1,3}))?$/.exec(text);
  if (match === null) return false;
  const [, address = "", length] = match;
  const bits = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;
  return bits >= 0 && (length === undefined || Number(length) <= bits);
}
