/**
 * Reading and writing `Mechanism.parameters`: a map of text that comes from the wire.
 * Numbers are decimal without padding, booleans `true` and `false` (NSM api, mechanisms/common).
 */
import type { MechanismClass, MechanismType } from "../api.js";
import type { Mechanism } from "../gen/connection.js";
import { formatAddress, parseAddress } from "../ip.js";
import { Code, type StatusError, statusError } from "../status.js";

/** Keys that more than one mechanism uses. */
export const sharedParameter = {
  srcIp: "src_ip",
  dstIp: "dst_ip",
  srcPort: "src_port",
  dstPort: "dst_port",
  /** Addresses before a proxy between domains has translated them. */
  origSrcIp: "orig_src_ip",
  origDstIp: "orig_dst_ip",
  name: "name",
  inodeUrl: "inodeURL",
  pciAddress: "pciAddress",
  tokenId: "tokenID",
  mtu: "MTU",
} as const;

/** Typed look-ups in one mechanism; every refusal names the connection, the parameter and what is expected. */
export interface ParameterReader {
  /** Empty if absent. */
  text(key: string): string;
  has(key: string): boolean;
  /** Undefined if absent, empty or "0". */
  integer(key: string, first: number, last: number): number | undefined;
  boolean(key: string): boolean;
  /** Canonical text of an IPv4 or IPv6 address; undefined if absent or empty. */
  address(key: string): string | undefined;
  /** INVALID_ARGUMENT about one parameter. */
  refuse(key: string, expected: string): StatusError;
}

/** Longest value that is shown in an error text, in characters. */
const shownLength = 80;

/**
 * @param connectionId  named in errors
 */
export function readParameters(mechanism: Mechanism, connectionId: string): ParameterReader {
  const has = (key: string): boolean => Object.hasOwn(mechanism.parameters, key);
  const text = (key: string): string => (has(key) ? (mechanism.parameters[key] ?? "") : "");
  const refuse = (key: string, expected: string): StatusError => {
    const value = text(key);
    const found = value === "" ? "is missing" : `is ${JSON.stringify(value.slice(0, shownLength))}`;
    return statusError(
      Code.INVALID_ARGUMENT,
      `connection ${connectionId}: parameter ${key} of mechanism ${mechanism.type} ${found}; give ${expected}`,
    );
  };
  return {
    text,
    has,
    refuse,
    integer(key, first, last) {
      const value = text(key);
      if (value === "" || value === "0") return undefined;
      const number = /^[1-9][0-9]{0,15}$/.test(value) ? Number(value) : Number.NaN;
      if (!(number >= first && number <= last)) throw refuse(key, `a decimal number ${first} … ${last}`);
      return number;
    },
    boolean(key) {
      const value = text(key);
      if (value !== "" && value !== "true" && value !== "false") throw refuse(key, "true or false");
      return value === "true";
    },
    address(key) {
      const value = text(key);
      if (value === "") return undefined;
      const address = parseAddress(value);
      if (address === undefined) throw refuse(key, "an IPv4 or IPv6 address");
      return formatAddress(address);
    },
  };
}

/** A mechanism without the parameters that are undefined. */
export function makeMechanism(
  cls: MechanismClass,
  type: MechanismType,
  parameters: Readonly<Record<string, string | number | undefined>>,
): Mechanism {
  const present = Object.entries(parameters).filter((entry): entry is [string, string | number] => entry[1] !== undefined);
  return { cls, type, parameters: Object.fromEntries(present.map(([key, value]) => [key, String(value)])) };
}

/** A copy with some parameters set; undefined removes one. */
export function withParameters(mechanism: Mechanism, changes: Readonly<Record<string, string | number | undefined>>): Mechanism {
  const parameters = new Map(Object.entries(mechanism.parameters));
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) parameters.delete(key);
    else parameters.set(key, String(value));
  }
  return { ...mechanism, parameters: Object.fromEntries(parameters) };
}
