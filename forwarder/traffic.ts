/**
 * How fast a connection may be and which class of traffic it has (pure): labels of the connection, within what the operator of the
 * forwarder allows. The packet core enforces it; a data plane that cannot refuses such a connection rather than forget about it.
 *
 *   weft-rate=100M             bits a second each way; weft-rate-up and weft-rate-down from and to the client
 *   weft-dscp=46 or EF         written into every IP header, both ways
 */
import { type Kind, optional } from "../sdk/config/kinds.js";
import { setting } from "../sdk/config/table.js";
import type { Connection } from "../sdk/gen/connection.js";
import { Code, statusError } from "../sdk/status.js";
import type { Traffic } from "./dataplane/dataplane.js";

const factors: Readonly<Record<string, number>> = { "": 1, k: 1e3, M: 1e6, G: 1e9 };
const [leastBits, mostBits] = [8_000, 1e12];

/** Undefined: it is no rate. */
export function parseRate(text: string): number | undefined {
  const found = /^(\d{1,12}(?:\.\d{1,6})?)([kMG]?)(?:bit(?:\/s)?)?$/.exec(text.trim());
  const bits = found === null ? Number.NaN : Math.round(Number(found[1]) * (factors[found[2] ?? ""] ?? 1));
  return bits >= leastBits && bits <= mostBits ? bits : undefined;
}

/** Names of RFC 2474, 2597, 3246 and 5865; undefined: it is none of them and no number of 0 … 63. */
export function parseDscp(text: string): number | undefined {
  const name = text.trim().toUpperCase();
  if (/^\d{1,2}$/.test(name)) return Number(name) <= 63 ? Number(name) : undefined;
  if (name === "EF") return 46;
  if (name === "VA") return 44;
  const selector = /^CS([0-7])$/.exec(name)?.[1];
  if (selector !== undefined) return 8 * Number(selector);
  const assured = /^AF([1-4])([1-3])$/.exec(name);
  return assured === null ? undefined : 8 * Number(assured[1]) + 2 * Number(assured[2]);
}

function kindOf(label: string, parse: (text: string) => number | undefined, example: string): Kind<number> {
  return {
    label,
    parse(text) {
      const value = parse(text);
      if (value === undefined) throw new Error(`"${text.slice(0, 40)}" is not ${example}`);
      return value;
    },
  };
}

const rateExample = "a rate of 8k … 1000G bits a second, such as 100M or 2.5G";
const dscpExample = "a DSCP: 0 … 63, EF, VA, CS0 … CS7 or AF11 … AF43";

export const trafficSettings = {
  maxRate: setting(
    "WEFT_MAX_RATE",
    optional(kindOf("RATE", parseRate, rateExample)),
    "most bits a second that a connection gets each way, whatever its label weft-rate asks for; empty = no limit",
    { default: "" },
  ),
  dscp: setting(
    "WEFT_DSCP",
    optional(kindOf("DSCP", parseDscp, dscpExample)),
    "class that every connection gets, whatever its label weft-dscp says; empty = the label decides",
    { default: "" },
  ),
} as const;

export interface TrafficRules {
  readonly maxRate: number | undefined;
  readonly dscp: number | undefined;
}

/**
 * Empty: nothing is limited or marked.
 * @throws INVALID_ARGUMENT a label is malformed; FAILED_PRECONDITION the data plane cannot enforce it
 */
export function trafficOf(
  { id, labels }: Pick<Connection, "id" | "labels">,
  rules: TrafficRules | undefined,
  dataPlane: { readonly name: string; readonly limitsTraffic?: boolean | undefined },
): { readonly traffic?: Traffic } {
  const read = (name: string, parse: (text: string) => number | undefined, example: string): number | undefined => {
    const text = Object.hasOwn(labels, name) ? labels[name] : undefined;
    if (text === undefined) return undefined;
    const value = parse(text);
    if (value !== undefined) return value;
    throw statusError(
      Code.INVALID_ARGUMENT,
      `connection ${id}: label ${name}=${JSON.stringify(text.slice(0, 40))} is not ${example}`,
    );
  };
  const both = read("weft-rate", parseRate, rateExample);
  const lowest = (asked: number | undefined): number => Math.min(asked ?? both ?? mostBits, rules?.maxRate ?? mostBits);
  const rates = [read("weft-rate-up", parseRate, rateExample), read("weft-rate-down", parseRate, rateExample)].map(lowest);
  const [up = mostBits, down = mostBits] = rates;
  const dscp = rules?.dscp ?? read("weft-dscp", parseDscp, dscpExample);
  if (up === mostBits && down === mostBits && dscp === undefined) return {};
  if (dataPlane.limitsTraffic !== true) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `connection ${id} has a limit of rate or a class of traffic, which data plane "${dataPlane.name}" cannot enforce; ` +
        'leave the labels weft-rate… and weft-dscp out, or give this node the packet core (WEFT_DATAPLANE=auto, "npm run build:native")',
    );
  }
  const limit = (bits: number): number => (bits === mostBits ? 0 : bits);
  return { traffic: { upBitsPerSecond: limit(up), downBitsPerSecond: limit(down), ...(dscp !== undefined && { dscp }) } };
}
