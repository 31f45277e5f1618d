/** What an operator sees of this manager: who is registered, what is connected, whether the registry answers. */
import type { Connection } from "../sdk/gen/connection.js";
import { Fact } from "../sdk/gen/inspect.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { RegistryState } from "./probe-registry.js";

export interface ReportSources {
  readonly endpoints: Iterable<NetworkServiceEndpoint>;
  readonly forwarderService: string;
  readonly connections: Iterable<Connection>;
  readonly registryUrl: string;
  readonly registry: RegistryState;
  readonly publicUrl: string;
  readonly excludedPrefixes: readonly string[];
}

/** @param section  empty = all */
export function reportFacts(sources: ReportSources, section: string): Fact[] {
  const facts: Fact[] = [];
  const add = (fact: Parameters<typeof Fact.fromPartial>[0]): void => void facts.push(Fact.fromPartial(fact));
  const { registry, registryUrl } = sources;
  add({ section: "registry", name: registryUrl, value: registry.up ? "up" : "down", detail: registry.reason });
  add({ section: "addresses", name: "public URL", value: sources.publicUrl, detail: "how other nodes reach this manager" });
  for (const endpoint of sources.endpoints) {
    const isForwarder = endpoint.network_service_names.includes(sources.forwarderService);
    add({
      section: isForwarder ? "forwarders" : "endpoints",
      name: endpoint.name,
      value: endpoint.url,
      detail: describeServices(endpoint),
    });
  }
  for (const connection of sources.connections) {
    add({
      section: "connections",
      name: connection.id,
      value: `${connection.network_service} at ${connection.network_service_endpoint_name}`,
      detail: connection.path?.path_segments.map((segment) => segment.name).join(" → ") ?? "",
      connection_id: connection.id,
    });
  }
  for (const prefix of sources.excludedPrefixes) add({ section: "excluded-prefixes", name: prefix });
  return section === "" ? facts : facts.filter((fact) => fact.section === section);
}

function describeServices({ network_service_names, network_service_labels }: NetworkServiceEndpoint): string {
  return network_service_names
    .map((service) => {
      const labels = Object.hasOwn(network_service_labels, service) ? network_service_labels[service]?.labels : undefined;
      const pairs = Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`);
      return pairs.length === 0 ? service : `${service} {${pairs.join(", ")}}`;
    })
    .join(", ");
}
