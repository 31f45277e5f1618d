/**
 * Who answers for which name (pure). The longest suffix counts: names under a search domain of a connection are for that
 * connection's servers, all others for the server that the pod has asked. The pod's own search domains are suffixes
 * as well, and win where both are equal, so that no endpoint can take the cluster's names away.
 */
import type { DNSConfig } from "../../sdk/gen/connectioncontext.js";
import { type Address, addressBits, inRange, type Prefix, parseAddress, parsePrefix, rangeOf } from "../../sdk/ip.js";
import { isPrintable, lowerCase, writeName } from "./message.js";
import type { ResolvConf } from "./resolv-conf.js";

/** What one connection says about names. */
export interface DnsSource {
  readonly configs: readonly DNSConfig[];
  /** Its far addresses and routes, as CIDR: names of addresses in them (PTR) are asked of its servers. */
  readonly prefixes: readonly string[];
  /** Whose answers these are: with another owner nothing of what was known is used any more. */
  readonly owner?: string;
}

export interface Zones {
  /** The servers of a connection; undefined: this name is not ours. */
  serversOf(name: string): readonly string[] | undefined;
  /** Where else to look for a name that the pod's server does not know. */
  searchFor(name: string): readonly { readonly name: string; readonly servers: readonly string[] }[];
  /** For people: domain → servers. */
  readonly domains: ReadonlyMap<string, readonly string[]>;
  /** What an endpoint said and is not heeded, with the reason. */
  readonly ignored: readonly string[];
  /** Nothing is ours: the pod needs no proxy. */
  readonly empty: boolean;
}

/** More than that of one pod is a mistake or worse. */
const maxServers = 8;
const maxDomains = 256;

export function createZones(sources: readonly DnsSource[], pod: Pick<ResolvConf, "search" | "ndots">): Zones {
  const own = new Set(pod.search);
  const domains = new Map<string, string[]>();
  const anywhere: string[] = [];
  const reverse: { prefix: Prefix; servers: string[] }[] = [];
  const ignored: string[] = [];
  for (const { configs, prefixes } of sources) {
    const all: string[] = [];
    for (const config of configs) {
      const servers = serversIn(config, ignored);
      if (servers.length === 0) continue;
      all.push(...servers);
      if (config.search_domains.length === 0) add(anywhere, servers);
      for (const text of config.search_domains) {
        const domain = lowerCase(text.replace(/\.+$/, ""));
        const why = domains.size >= maxDomains ? `more than ${maxDomains} domains` : whyNot(domain, own);
        if (why !== undefined) ignored.push(`search domain ${JSON.stringify(text.slice(0, 260))}: ${why}`);
        else add(listIn(domains, domain), servers);
      }
    }
    if (all.length > 0) reverse.push(...reverseOf(prefixes, all));
  }
  reverse.sort((a, b) => b.prefix.length - a.prefix.length);
  return {
    domains,
    ignored,
    empty: domains.size === 0 && anywhere.length === 0,
    serversOf(name) {
      for (const suffix of suffixesOf(name)) {
        if (own.has(suffix)) return undefined;
        const servers = domains.get(suffix);
        if (servers !== undefined) return servers;
      }
      const address = addressOfReverse(name);
      if (address === undefined) return undefined;
      return reverse.find(({ prefix }) => prefix.family === address.family && inRange(address.value, rangeOf(prefix)))?.servers;
    },
    searchFor(name) {
      const labels = name === "" ? 0 : name.split(".").length;
      // what ends with a search domain of the pod is a try of its resolver's own search
      if (labels === 0 || [...suffixesOf(name)].some((suffix) => own.has(suffix)) || /\.arpa$/.test(name)) return [];
      const found = anywhere.length > 0 ? [{ name, servers: anywhere }] : [];
      // the rule of the pod's resolver for its own search domains; a name of one label is always tried
      if (labels > 1 && labels - 1 >= pod.ndots) return found;
      return [...[...domains].map(([domain, servers]) => ({ name: `${name}.${domain}`, servers })), ...found].slice(0, 16);
    },
  };
}

function serversIn({ dns_server_ips }: DNSConfig, ignored: string[]): string[] {
  const good = dns_server_ips.filter((text) => {
    const address = parseAddress(text);
    const usable = address !== undefined && address.value !== 0n;
    if (!usable) ignored.push(`name server ${JSON.stringify(text.slice(0, 60))}: not an address of a host`);
    return usable;
  });
  return [...new Set(good)].slice(0, maxServers);
}

function whyNot(domain: string, own: ReadonlySet<string>): string | undefined {
  if (domain === "") return "the root would take all names of the pod";
  if (writeName(domain) === undefined || !isPrintable(domain)) return "not a domain name";
  if (own.has(domain)) return "the pod's own search domain";
  // Kubernetes: NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN
  const services = [...own].find((suffix) => suffix.startsWith("svc."));
  if (services !== undefined && domain.endsWith(`.${services}`)) return `under ${services}, which is the cluster's`;
  return undefined;
}

function* suffixesOf(name: string): Generator<string> {
  for (let at = 0; at >= 0; ) {
    yield name.slice(at);
    const dot = name.indexOf(".", at);
    at = dot < 0 ? -1 : dot + 1;
  }
}

function listIn(map: Map<string, string[]>, key: string): string[] {
  const known = map.get(key);
  if (known !== undefined) return known;
  const list: string[] = [];
  map.set(key, list);
  return list;
}

function add(list: string[], servers: readonly string[]): void {
  for (const server of servers) if (!list.includes(server) && list.length < maxServers) list.push(server);
}

function reverseOf(prefixes: readonly string[], servers: string[]): { prefix: Prefix; servers: string[] }[] {
  return prefixes.flatMap((text) => {
    const prefix = parsePrefix(text);
    // a default route says nothing about whose addresses these are
    return prefix === undefined || prefix.length === 0 ? [] : [{ prefix, servers }];
  });
}

/** The address of in-addr.arpa (RFC 1035 §3.5) or ip6.arpa (RFC 3596 §2.5). */
export function addressOfReverse(name: string): Address | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4 !== null) return parseAddress(v4.slice(1, 5).reverse().join("."));
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (v6 === undefined) return undefined;
  return {
    family: 6,
    value: BigInt(`0x${v6.replaceAll(".", "").split("").reverse().join("")}`) & ((1n << BigInt(addressBits(6))) - 1n),
  };
}
