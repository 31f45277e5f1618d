/**
 * Reads the policy routes for clients (YAML list of from, proto, dstport, srcport, routes[prefix, nexthop]); pure.
 * Source of the format: NSM's policy-based-routing config. Spellings that upstream ignores silently (dst_port, nextHop, …)
 * are read too; anything else is refused, because a misspelt key would widen a policy.
 */
import { parse } from "yaml";
import { PolicyRoute, Route } from "../../sdk/gen/connectioncontext.js";
import { parsePrefix } from "../../sdk/ip.js";
import { Code, statusError } from "../../sdk/status.js";

const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;

/**
 * @throws INVALID_ARGUMENT with every problem, one a line
 */
export function parsePolicies(text: string): PolicyRoute[] {
  const problems: string[] = [];
  let content: unknown;
  try {
    content = parse(text, { maxAliasCount: 100, logLevel: "error" });
  } catch (error) {
    throw statusError(Code.INVALID_ARGUMENT, error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error));
  }
  if (content === null || content === undefined) return [];
  if (!Array.isArray(content)) throw statusError(Code.INVALID_ARGUMENT, "policy routes are not a list");
  const policies = (content as unknown[]).map((entry, index) => policy(entry, `policy ${index + 1}`, problems));
  if (problems.length > 0) throw statusError(Code.INVALID_ARGUMENT, problems.join("\n"));
  return policies;
}

function policy(value: unknown, where: string, problems: string[]): PolicyRoute {
  const read = keys(value, where, problems, ["from", "proto", "dstport", "srcport", "routes"]);
  const from = read("from");
  if (from !== "" && parsePrefix(from) === undefined) problems.push(`${where}: from is ${JSON.stringify(from)}; write a CIDR`);
  const routes = read.list("routes");
  return PolicyRoute.fromPartial({
    from,
    proto: protocol(read("proto"), where, problems),
    dst_port: ports(read("dstport"), where, problems),
    src_port: ports(read("srcport"), where, problems),
    routes: routes.map((entry, index) => route(entry, `${where}, route ${index + 1}`, problems)),
  });
}

function route(value: unknown, where: string, problems: string[]): Route {
  const read = keys(value, where, problems, ["prefix", "nexthop"]);
  const prefix = read("prefix");
  const nextHop = read("nexthop");
  if (parsePrefix(prefix) === undefined) problems.push(`${where}: prefix is ${JSON.stringify(prefix)}; write a CIDR`);
  if (nextHop !== "" && (parsePrefix(nextHop) === undefined || nextHop.includes("/"))) {
    problems.push(`${where}: nexthop is ${JSON.stringify(nextHop)}; write an address`);
  }
  return Route.fromPartial({ prefix, nextHop });
}

interface Read {
  (key: string): string;
  list(key: string): readonly unknown[];
}

function keys(value: unknown, where: string, problems: string[], known: readonly string[]): Read {
  const found = new Map<string, unknown>();
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    problems.push(`${where} is not a map of keys and values`);
  } else {
    for (const [key, content] of Object.entries(value)) {
      const plain = key.toLowerCase().replaceAll("_", "");
      if (known.includes(plain)) found.set(plain, content);
      else problems.push(`${where}: unknown key ${JSON.stringify(key)}; known: ${known.join(", ")}`);
    }
  }
  const text = (key: string): string => {
    const content = found.get(key);
    if (content === undefined || content === null) return "";
    if (typeof content === "string" || typeof content === "number") return String(content);
    problems.push(`${where}: ${key} is not a text or number`);
    return "";
  };
  const list = (key: string): readonly unknown[] => {
    const content = found.get(key);
    if (content === undefined || content === null) return [];
    if (Array.isArray(content)) return content as unknown[];
    problems.push(`${where}: ${key} is not a list`);
    return [];
  };
  return Object.assign(text, { list });
}

function protocol(text: string, where: string, problems: string[]): string {
  const named = Object.entries(protocols).find(([name]) => name === text.toLowerCase());
  if (named !== undefined) return String(named[1]);
  if (text !== "" && !(/^\d{1,3}$/.test(text) && Number(text) <= 255)) {
    problems.push(`${where}: proto is ${JSON.stringify(text)}; write ${Object.keys(protocols).join(", ")} or 0 … 255`);
  }
  return text;
}

function ports(text: string, where: string, problems: string[]): string {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const [first, last] = [Number(match?.[1] ?? 0), Number(match?.[2] ?? match?.[1] ?? 0)];
  if (text !== "" && (match === null || first > last || last > 65535)) {
    problems.push(`${where}: port is ${JSON.stringify(text)}; write PORT or FIRST-LAST`);
  }
  return text;
}
