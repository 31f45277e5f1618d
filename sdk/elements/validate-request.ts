/**
 * validate-request — refuses what no honest caller sends, before anybody works on it.
 * Fails:  INVALID_ARGUMENT naming the field and the bound
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { Connection, Mechanism } from "../gen/connection.js";
import type { IPContext } from "../gen/connectioncontext.js";
import type { NetworkServiceRequest } from "../gen/networkservice.js";
import { maxPathSegments } from "../path.js";
import { Code, type StatusError, statusError } from "../status.js";

/** Far above anything real; each bounds memory that a stranger could make us keep. Characters or entries. */
const bounds = {
  name: 1024,
  token: 64 * 1024,
  value: 4096,
  labels: 256,
  preferences: 32,
  parameters: 64,
  addresses: 512,
  routes: 4096,
  metrics: 256,
} as const;

export function validateRequest(): Element<ConnectionApi> {
  return {
    name: "validate-request",
    steps: {
      async request(request, _context, rest) {
        checkRequest(request);
        return rest.request(request);
      },
      async close(connection, _context, rest) {
        checkConnection(connection);
        return rest.close(connection);
      },
    },
  };
}

function checkRequest({ connection, mechanism_preferences }: NetworkServiceRequest): void {
  if (connection === undefined) throw refuse("connection", "is missing");
  if (connection.network_service === "") throw refuse("connection.network_service", "is empty; name the service you want");
  checkConnection(connection);
  count("mechanism_preferences", mechanism_preferences.length, bounds.preferences);
  for (const mechanism of mechanism_preferences) checkMechanism("mechanism_preferences", mechanism);
}

function checkConnection(connection: Connection): void {
  text("connection.id", connection.id, bounds.name);
  text("connection.network_service", connection.network_service, bounds.name);
  text("connection.network_service_endpoint_name", connection.network_service_endpoint_name, bounds.name);
  text("connection.payload", connection.payload, bounds.name);
  map("connection.labels", connection.labels, bounds.labels);
  if (connection.mechanism !== undefined) checkMechanism("connection.mechanism", connection.mechanism);
  const segments = connection.path?.path_segments ?? [];
  if (segments.length > maxPathSegments) {
    throw refuse("connection.path", `has ${segments.length} segments, more than ${maxPathSegments}: is there a loop?`);
  }
  for (const segment of segments) {
    text("path segment name", segment.name, bounds.name);
    text("path segment id", segment.id, bounds.name);
    text("path segment token", segment.token, bounds.token);
    map("path segment metrics", segment.metrics, bounds.metrics);
  }
  const context = connection.context;
  if (context === undefined) return;
  map("context.extra_context", context.extra_context, bounds.labels);
  if (context.ip_context !== undefined) checkIpContext(context.ip_context);
  for (const { dns_server_ips, search_domains } of context.dns_context?.configs ?? []) {
    texts("dns_server_ips", dns_server_ips, bounds.addresses);
    texts("search_domains", search_domains, bounds.addresses);
  }
}

function checkIpContext(ip: IPContext): void {
  texts("src_ip_addrs", ip.src_ip_addrs, bounds.addresses);
  texts("dst_ip_addrs", ip.dst_ip_addrs, bounds.addresses);
  texts("excluded_prefixes", ip.excluded_prefixes, bounds.routes);
  texts("extra_prefixes", ip.extra_prefixes, bounds.routes);
  count("src_routes", ip.src_routes.length, bounds.routes);
  count("dst_routes", ip.dst_routes.length, bounds.routes);
  count("ip_neighbors", ip.ip_neighbors.length, bounds.routes);
  count("policies", ip.policies.length, bounds.addresses);
  for (const { routes } of ip.policies) count("policies.routes", routes.length, bounds.addresses);
}

function checkMechanism(field: string, mechanism: Mechanism): void {
  text(`${field}.cls`, mechanism.cls, bounds.name);
  text(`${field}.type`, mechanism.type, bounds.name);
  map(`${field}.parameters`, mechanism.parameters, bounds.parameters);
}

function map(field: string, entries: Readonly<Record<string, string>>, max: number): void {
  let entriesSeen = 0;
  for (const key in entries) {
    entriesSeen++;
    text(`a key of ${field}`, key, bounds.name);
    text(`${field}["${key.slice(0, 64)}"]`, entries[key] ?? "", bounds.value);
  }
  count(field, entriesSeen, max);
}

function texts(field: string, values: readonly string[], max: number): void {
  count(field, values.length, max);
  for (const value of values) text(field, value, bounds.name);
}

function text(field: string, value: string, max: number): void {
  if (value.length > max) throw refuse(field, `has ${value.length} characters, more than ${max}`);
}

function count(field: string, entries: number, max: number): void {
  if (entries > max) throw refuse(field, `has ${entries} entries, more than ${max}`);
}

function refuse(field: string, why: string): StatusError {
  return statusError(Code.INVALID_ARGUMENT, `request refused: ${field} ${why}`);
}
