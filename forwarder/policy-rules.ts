/** The policy routes of a connection's context as rules for the kernel (pure; rules of NSM's iprule element). */
import type { PolicyRoute } from "../sdk/gen/connectioncontext.js";
import { type Family, formatAddress, parseAddress, parsePrefix } from "../sdk/ip.js";
import type { IpRoute, PolicyRule, PortRange } from "./dataplane/dataplane.js";
import { networkOf } from "./prefix.js";

const defaultPrefix = { 4: "0.0.0.0/0", 6: "::/0" } as const;

/**
 * One rule for each policy and family. A policy without routes gets a default route through the interface; one without
 * `from` applies to the families of its routes, or else of the workload's own addresses.
 * @param refuse  makes the error for one field
 */
export function policyRules(
  policies: readonly PolicyRoute[],
  ownFamilies: readonly Family[],
  refuse: (field: string, value: string, expected: string) => Error,
): PolicyRule[] {
  return policies.flatMap((policy, index) => {
    const field = (name: string): string => `policies[${index}].${name}`;
    const from = policy.from === "" ? undefined : parsePrefix(policy.from);
    if (policy.from !== "" && from === undefined) throw refuse(field("from"), policy.from, "a CIDR or an address");
    const routes = policy.routes.map((route, at) => {
      const prefix = parsePrefix(route.prefix);
      if (prefix === undefined) throw refuse(field(`routes[${at}].prefix`), route.prefix, "a CIDR");
      const nextHop = route.nextHop === "" ? undefined : parseAddress(route.nextHop);
      if (route.nextHop !== "" && nextHop?.family !== prefix.family) {
        throw refuse(field(`routes[${at}].nextHop`), route.nextHop, `an IPv${prefix.family} address`);
      }
      const ipRoute: IpRoute = { prefix: networkOf(prefix), nextHop: nextHop === undefined ? "" : formatAddress(nextHop) };
      return { family: prefix.family, ipRoute };
    });
    const asked = from !== undefined ? [from.family] : routes.length > 0 ? routes.map(({ family }) => family) : ownFamilies;
    const rule = {
      from: from === undefined ? "" : networkOf(from),
      protocol: parseProtocol(policy.proto, (expected) => refuse(field("proto"), policy.proto, expected)),
      sourcePorts: parsePorts(policy.src_port, (expected) => refuse(field("src_port"), policy.src_port, expected)),
      destinationPorts: parsePorts(policy.dst_port, (expected) => refuse(field("dst_port"), policy.dst_port, expected)),
    };
    return [...new Set(asked)].map((family) => {
      const own = routes.filter((route) => route.family === family).map(({ ipRoute }) => ipRoute);
      return { ...rule, routes: own.length > 0 ? own : [{ prefix: defaultPrefix[family], nextHop: "" }] };
    });
  });
}

/** An IP protocol number; empty is 0, any. */
function parseProtocol(text: string, refuse: (expected: string) => Error): number {
  if (text === "") return 0;
  const number = /^[0-9]{1,3}$/.test(text) ? Number(text) : 256;
  if (number > 255) throw refuse("an IP protocol number 0 … 255, for example 6 (TCP) or 17 (UDP)");
  return number;
}

/** "80" or "80-90". */
function parsePorts(text: string, refuse: (expected: string) => Error): PortRange | undefined {
  if (text === "") return undefined;
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text);
  const first = Number(match?.[1] ?? Number.NaN);
  const last = Number(match?.[2] ?? match?.[1] ?? Number.NaN);
  if (!(first >= 1 && first <= last && last <= 65_535)) throw refuse(`a port 1 … 65535 or a range "first-last"`);
  return { first, last };
}
