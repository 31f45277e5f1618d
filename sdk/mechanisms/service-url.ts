/**
 * The URL by which a workload asks for a network service:
 *
 *     mechanism://service[@domain][/interface][?label=value[&label=value]…]
 *
 * Rules as NSM's nsurl: the scheme is the mechanism, user@host is service@domain, a port is dropped, the last path
 * segment names the interface, repeated labels are joined with ",". Unlike there, what does not fit is an error that
 * points at the wrong character.
 */
import { MechanismType } from "../api.js";
import { Code, type StatusError, statusError } from "../status.js";
import { badInterfaceCharacter } from "./interface-name.js";

/** A network service URL in its parts: kernel://SERVICE@DOMAIN/INTERFACE?LABEL=VALUE. */
export interface ServiceUrl {
  readonly mechanism: MechanismType;
  /** `service` or `service@domain`. */
  readonly networkService: string;
  /** As asked for, perhaps longer than the kernel takes (`fitInterfaceName`); empty: generate one. */
  readonly interfaceName: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Mechanisms by which a workload can reach its node's forwarder. */
const localMechanisms: readonly MechanismType[] = [
  MechanismType.KERNEL,
  MechanismType.MEMIF,
  MechanismType.VFIO,
  MechanismType.NOOP,
];
const maxLength = 8192;
const shape = "mechanism://service[@domain][/interface][?label=value]";

/**
 * Parses one service URL.
 * @throws INVALID_ARGUMENT whose text marks the first wrong character
 */
export function parseServiceUrl(text: string): ServiceUrl {
  return parseRange({ text, start: 0, end: text.length });
}

/**
 * Parses a comma-separated list of service URLs, as in the annotation and in NSM_NETWORK_SERVICES. White space around
 * an entry is dropped; an empty text is an empty list.
 * @throws INVALID_ARGUMENT whose text marks the first wrong character of the whole list
 */
export function parseServiceUrls(text: string): ServiceUrl[] {
  return text.trim() === "" ? [] : parseList({ text, start: 0, end: text.length });
}

/**
 * Parses awareness groups: `[url,url],[url]`. Services of one group do not exclude each other's prefixes.
 * @throws INVALID_ARGUMENT whose text marks the first wrong character
 */
export function parseAwarenessGroups(text: string): ServiceUrl[][] {
  const groups: ServiceUrl[][] = [];
  let at = skipSpace(text, 0);
  while (at < text.length) {
    if (groups.length > 0) {
      if (text[at] !== ",") throw wrong(text, at, `expected "," between groups`);
      at = skipSpace(text, at + 1);
    }
    if (text[at] !== "[") throw wrong(text, at, `expected "[": groups are written [url,url],[url]`);
    const end = text.indexOf("]", at);
    if (end < 0) throw wrong(text, text.length, `expected "]" at the end of the group`);
    groups.push(parseList({ text, start: at + 1, end }));
    at = skipSpace(text, end + 1);
  }
  return groups;
}

/** The URL as text; parsing it gives the same value back. */
export function formatServiceUrl(url: ServiceUrl): string {
  const [service = "", ...domain] = url.networkService.split("@");
  const host = [service, domain.join("@")].filter((part) => part !== "").map(encodeURIComponent);
  const path = url.interfaceName === "" ? "" : `/${encodeURIComponent(url.interfaceName)}`;
  const labels = Object.entries(url.labels).map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`);
  return `${url.mechanism.toLowerCase()}://${host.join("@")}${path}${labels.length === 0 ? "" : `?${labels.join("&")}`}`;
}

/** A part of a text; errors are placed in the whole text. */
interface Range {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

function parseList({ text, start, end }: Range): ServiceUrl[] {
  const urls: ServiceUrl[] = [];
  let from = start;
  for (;;) {
    const comma = text.indexOf(",", from);
    const to = comma < 0 || comma > end ? end : comma;
    urls.push(parseRange(trimmed({ text, start: from, end: to })));
    if (to === end) return urls;
    from = to + 1;
  }
}

function parseRange(range: Range): ServiceUrl {
  const { text, start, end } = range;
  if (start === end) throw wrong(text, start, `a network service URL is missing: ${shape}`);
  if (end - start > maxLength) throw wrong(text, start + maxLength, `a URL has at most ${maxLength} characters`);
  const { mechanism, next } = parseScheme(range);
  const authority = until(text, next, end, "/?#");
  const networkService = parseAuthority({ text, start: next, end: authority });
  const query = until(text, authority, end, "?#");
  const interfaceName = parseInterface({ text, start: authority, end: query });
  if (text[query] === "#" && query < end) throw wrong(text, query, `a service URL has no fragment; write %23 for "#"`);
  return { mechanism, networkService, interfaceName, labels: parseLabels({ text, start: Math.min(query + 1, end), end }) };
}

function parseScheme({ text, start, end }: Range): { mechanism: MechanismType; next: number } {
  const colon = until(text, start, end, ":/?#@");
  if (colon === end || text[colon] !== ":") throw wrong(text, colon, `expected "://" after the mechanism: ${shape}`);
  const scheme = text.slice(start, colon);
  const mechanism = localMechanisms.find((type) => type === scheme.toUpperCase());
  if (mechanism === undefined) {
    const known = localMechanisms.map((type) => type.toLowerCase()).join(", ");
    throw wrong(text, start, `no mechanism is called "${scheme.slice(0, 64)}"; use one of ${known}`);
  }
  for (let i = 1; i <= 2; i++) {
    if (colon + i >= end || text[colon + i] !== "/") throw wrong(text, Math.min(colon + i, end), `expected "://": ${shape}`);
  }
  return { mechanism, next: colon + 3 };
}

function parseAuthority({ text, start, end }: Range): string {
  const at = text.lastIndexOf("@", end - 1);
  if (at < start) return parseName(withoutPort({ text, start, end }), "network service");
  const service = parseName({ text, start, end: at }, "network service");
  return `${service}@${parseName(withoutPort({ text, start: at + 1, end }), "domain")}`;
}

/** A port is allowed and has no meaning (as in NSM). */
function withoutPort({ text, start, end }: Range): Range {
  const colon = until(text, start, end, ":");
  for (let at = colon + 1; at < end; at++) {
    if (!/[0-9]/.test(text.charAt(at))) throw wrong(text, at, "expected a digit of a port number");
  }
  return { text, start, end: colon };
}

function parseName(range: Range, what: string): string {
  if (range.start === range.end) throw wrong(range.text, range.start, `the ${what} has no name: ${shape}`);
  return decode(range, (character) =>
    /[A-Za-z0-9._~-]/.test(character) || character > "\u00a0"
      ? undefined
      : `a ${what} is named with letters, digits, "-", "." and "_"`,
  );
}

function parseInterface({ text, start, end }: Range): string {
  const slash = text.lastIndexOf("/", end - 1);
  if (slash < start) return "";
  const name = { text, start: slash + 1, end };
  const decoded = decode(name, (character) =>
    badInterfaceCharacter(character) === 0 && character !== "." ? `an interface name has no "/", ":" or white space` : undefined,
  );
  // What is left can only come from an escape, or be "." or "..".
  if (badInterfaceCharacter(decoded) >= 0)
    throw wrong(text, slash + 1, `the kernel takes no interface named ${JSON.stringify(decoded)}`);
  return decoded;
}

function parseLabels({ text, start, end }: Range): Record<string, string> {
  const labels = new Map<string, string>();
  for (let at = start; at < end; ) {
    const stop = until(text, at, end, "&");
    const equals = until(text, at, stop, "=");
    if (stop > at) {
      if (equals === at) throw wrong(text, at, "a label has no key; write ?key=value");
      const key = decodeLabel({ text, start: at, end: equals });
      const value = decodeLabel({ text, start: Math.min(equals + 1, stop), end: stop });
      const earlier = labels.get(key);
      labels.set(key, earlier === undefined ? value : `${earlier},${value}`);
    }
    at = stop + 1;
  }
  return Object.fromEntries(labels);
}

function decodeLabel(range: Range): string {
  const forbidden = (character: string): string | undefined => {
    if (character === ";") return `labels are separated by "&"; write %3B for ";"`;
    if (character === "#") return `write %23 for "#" in a label`;
    return character <= " " ? "write %20 or + for a space in a label" : undefined;
  };
  return decode(range, forbidden, true);
}

/** Percent-decodes a range as UTF-8 after each character has been accepted. */
function decode({ text, start, end }: Range, problemOf: (character: string) => string | undefined, plusIsSpace = false): string {
  for (let at = start; at < end; at++) {
    const character = text.charAt(at);
    if (character === "%") {
      if (at + 2 >= end || !/^[0-9A-Fa-f]{2}$/.test(text.slice(at + 1, at + 3))) {
        throw wrong(text, at, `"%" begins an escape of two hexadecimal digits; write %25 for "%" itself`);
      }
      at += 2;
    } else {
      const problem = problemOf(character);
      if (problem !== undefined) throw wrong(text, at, problem);
    }
  }
  const raw = text.slice(start, end);
  try {
    return decodeURIComponent(plusIsSpace ? raw.replaceAll("+", " ") : raw);
  } catch {
    throw wrong(text, start + Math.max(0, raw.indexOf("%")), "the escapes here are not UTF-8");
  }
}

function until(text: string, start: number, end: number, stops: string): number {
  for (let at = start; at < end; at++) if (stops.includes(text.charAt(at))) return at;
  return end;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charAt(at).trim() === "") at++;
  return at;
}

function trimmed({ text, start, end }: Range): Range {
  let first = start;
  let last = end;
  while (first < last && text.charAt(first).trim() === "") first++;
  while (last > first && text.charAt(last - 1).trim() === "") last--;
  return { text, start: first, end: last };
}

/** The error, with up to 40 characters around the place and a mark under it. */
function wrong(text: string, at: number, problem: string): StatusError {
  const before = Array.from(text.slice(0, at)).length;
  const from = Math.max(0, at - 40);
  const shown = text.slice(from, at + 40).replace(/\s/g, " ");
  const mark = " ".repeat(Array.from(text.slice(from, at)).length);
  return statusError(Code.INVALID_ARGUMENT, `service URL, character ${before + 1}: ${problem}\n  ${shown}\n  ${mark}^`);
}
