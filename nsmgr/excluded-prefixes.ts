/**
 * excluded-prefixes — the list of address ranges no endpoint may hand out, as text and as a rule (pure).
 * Form of the file: YAML, one list under the key `prefixes`, whose letters may be of any case. The plain form, one prefix a
 * line, as `weft agent` and NSM write it, is read without the YAML library, which takes three megabytes of memory.
 */
import { isIPv4, isIPv6 } from "node:net";

/** Larger files are refused: the list goes into every request. */
export const maxPrefixes = 4096;

/**
 * Reads the content of the file.
 * @throws Error with a text that names what is wrong; nothing of a wrong file is taken
 */
export async function parseExcludedPrefixes(text: string): Promise<string[]> {
  const content: unknown = plainForm(text) ?? (await parseYaml(text));
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

/** `prefixes:` and a line for each, or `prefixes: []`; undefined = anything else, right or wrong. */
function plainForm(text: string): { readonly prefixes: readonly string[] } | undefined {
  const [head = "", ...lines] = text.trimEnd().split("\n");
  if (/^prefixes: *\[ *\]$/.test(head) && lines.length === 0) return { prefixes: [] };
  if (!/^prefixes: *$/.test(head) || lines.length === 0) return undefined;
  // one indentation for all, and entries that YAML reads as texts: with a mask, so never as a number
  const indent = /^ *- /.exec(lines[0] ?? "")?.[0] ?? "";
  const prefixes: string[] = [];
  for (const line of lines) {
    const entry = line.slice(indent.length);
    if (indent === "" || !line.startsWith(indent) || !/^[0-9a-fA-F][0-9a-fA-F.:]*\/[0-9]{1,3}$/.test(entry)) return undefined;
    prefixes.push(entry);
  }
  return { prefixes };
}

async function parseYaml(text: string): Promise<unknown> {
  const { parse } = await import("yaml");
  return parse(text, { maxAliasCount: 100, logLevel: "error" });
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
