/**
 * What a further connection of the same workload may not use: addresses and routes of those before it (pure).
 * Source of the rule: behaviour of NSM's client (excludedprefixes); services of one awareness group may overlap.
 */
import type { ConnectionContext } from "../../sdk/gen/connectioncontext.js";
import { parsePrefix } from "../../sdk/ip.js";
import { formatServiceUrl, type ServiceUrl } from "../../sdk/mechanisms/service-url.js";

export interface Granted {
  readonly service: ServiceUrl;
  readonly context: ConnectionContext;
}

export function excludedFor(
  service: ServiceUrl,
  granted: readonly Granted[],
  groups: readonly (readonly ServiceUrl[])[],
): string[] {
  const own = groups.filter((group) => has(group, service));
  const others = granted.filter((other) => !own.some((group) => has(group, other.service)));
  return [...new Set(others.flatMap(({ context }) => used(context)))];
}

/** Contexts never change; with many connections each of them is looked at for each of the others. */
const known = new WeakMap<ConnectionContext, readonly string[]>();

function used(context: ConnectionContext): readonly string[] {
  const before = known.get(context);
  if (before !== undefined) return before;
  const found = prefixesOf(context);
  known.set(context, found);
  return found;
}

function prefixesOf({ ip_context }: ConnectionContext): string[] {
  if (ip_context === undefined) return [];
  const { src_ip_addrs, dst_ip_addrs, src_routes } = ip_context;
  const prefixes = [...src_ip_addrs, ...dst_ip_addrs, ...src_routes.map(({ prefix }) => prefix)];
  // A default route takes what nobody else wants; as an exclusion it would take everything.
  return prefixes.filter((text) => (parsePrefix(text)?.length ?? 0) > 0);
}

function has(group: readonly ServiceUrl[], service: ServiceUrl): boolean {
  const text = formatServiceUrl(service);
  return group.some((member) => formatServiceUrl(member) === text);
}
