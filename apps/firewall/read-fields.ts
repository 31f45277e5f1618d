/** Typed look-ups in one rule of the file; problems are collected, not thrown (pure). */
import { type Family, type Prefix, parsePrefix } from "../../sdk/ip.js";
import type { Numbers, Rule } from "./rules.js";

export interface RuleRead {
  readonly rule: Rule | undefined;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

export interface Fields {
  readonly problems: string[];
  readonly warnings: string[];
  text(key: string): string | undefined;
  number(key: string, last: number): number | undefined;
  prefix(key: string): Prefix | undefined;
  /** 80, "80" or "80-90". */
  numbers(key: string, last: number): Numbers | undefined;
  refuse(text: string): void;
  warn(text: string): void;
  /** Says which keys nobody asked for: a misspelt key would silently widen a rule. */
  finish(): void;
}

/** @param where  named in each problem, for example `rule "allow web"` */
export function fields(where: string, value: unknown): Fields {
  const problems: string[] = [];
  const warnings: string[] = [];
  const asked = new Set<string>();
  const refuse = (text: string): void => void problems.push(`${where}: ${text}`);
  const map = value instanceof Map ? value : new Map<unknown, unknown>();
  if (!(value instanceof Map)) refuse("is not a map of keys and values");

  const text = (key: string): string | undefined => {
    asked.add(key);
    const found: unknown = map.get(key);
    if (found === undefined || found === null) return undefined;
    if (typeof found === "string" || typeof found === "number" || typeof found === "bigint") return String(found);
    refuse(`${key} is not a text or number`);
    return undefined;
  };
  const numbers = (key: string, last: number): Numbers | undefined => {
    const found = text(key);
    if (found === undefined) return undefined;
    const match = /^(\d{1,5})(?:\s*-\s*(\d{1,5}))?$/.exec(found);
    const range = match === null ? undefined : { first: Number(match[1]), last: Number(match[2] ?? match[1]) };
    if (range !== undefined && range.first <= range.last && range.last <= last) return range;
    refuse(`${key} is ${JSON.stringify(found)}; write a number 0 … ${last} or FIRST-LAST`);
    return undefined;
  };
  return {
    problems,
    warnings,
    text,
    numbers,
    number(key, last) {
      const found = text(key);
      if (found === undefined) return undefined;
      if (/^\d{1,5}$/.test(found) && Number(found) <= last) return Number(found);
      refuse(`${key} is ${JSON.stringify(found)}; write a number 0 … ${last}`);
      return undefined;
    },
    prefix(key) {
      const found = text(key);
      if (found === undefined || found === "") return undefined;
      const prefix = parsePrefix(found);
      if (prefix === undefined) refuse(`${key} is ${JSON.stringify(found)}; write address/length`);
      return prefix;
    },
    refuse,
    warn: (text) => void warnings.push(`${where}: ${text}`),
    finish() {
      for (const key of map.keys()) if (!asked.has(String(key))) refuse(`unknown key ${JSON.stringify(key)}`);
    },
  };
}

/** The one family that both prefixes and the protocol allow; undefined = any. */
export function familyOf(
  read: Fields,
  source: Prefix | undefined,
  destination: Prefix | undefined,
  protocol: number | undefined,
): Family | undefined {
  const protocolFamily: Family | undefined = protocol === 1 ? 4 : protocol === 58 ? 6 : undefined;
  const families = new Set(
    [source?.family, destination?.family, protocolFamily].filter((family): family is Family => family !== undefined),
  );
  if (families.size > 1) read.refuse("mixes IPv4 and IPv6");
  return [...families][0];
}
