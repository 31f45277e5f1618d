/**
 * label-endpoint — says on which node an endpoint runs.
 * Does:   adds the node's labels (nodeName, podName, clusterName) to each service the endpoint provides, unless it has them
 * Fails:  never
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";

export function labelEndpoint(labels: Readonly<Record<string, string>>): Element<EndpointRegistryApi> {
  return {
    name: "label-endpoint",
    steps: { register: (endpoint, _context, rest) => rest.register(withLabels(endpoint, labels)) },
  };
}

function withLabels(endpoint: NetworkServiceEndpoint, labels: Readonly<Record<string, string>>): NetworkServiceEndpoint {
  if (Object.keys(labels).length === 0) return endpoint;
  const given = new Map(Object.entries(endpoint.network_service_labels));
  for (const service of endpoint.network_service_names) {
    given.set(service, { labels: { ...labels, ...given.get(service)?.labels } });
  }
  return { ...endpoint, network_service_labels: Object.fromEntries(given) };
}
