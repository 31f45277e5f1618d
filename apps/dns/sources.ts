/** What a connection says about names (pure). */
import type { Connection } from "../../sdk/gen/connection.js";
import type { DnsSource } from "./zones.js";

/** Undefined: nothing. */
export function dnsSourceOf(connection: Connection): DnsSource | undefined {
  const configs = connection.context?.dns_context?.configs ?? [];
  if (configs.length === 0) return undefined;
  const ip = connection.context?.ip_context;
  return {
    configs,
    prefixes: [...(ip?.dst_ip_addrs ?? []), ...(ip?.src_routes ?? []).map(({ prefix }) => prefix)],
    // answers of one endpoint are not those of another
    owner: `${connection.id} ${connection.network_service_endpoint_name}`,
  };
}

/** For people: "office.example by 172.16.1.1". */
export function namesOf(connection: Connection | undefined): string[] {
  return (connection?.context?.dns_context?.configs ?? []).map(
    ({ search_domains, dns_server_ips }) => `${search_domains.join(", ") || "any name"} by ${dns_server_ips.join(", ")}`,
  );
}

export function dnsSourcesOf(connections: Iterable<Connection>): DnsSource[] {
  return [...connections].flatMap((connection) => dnsSourceOf(connection) ?? []);
}
