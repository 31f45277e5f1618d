/**
 * local-endpoints — the endpoints that registered through this manager, with their real URLs.
 * Other nodes know them under this manager's URL; only here stands how to reach them. Forwarders are among them.
 */
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";

export interface LocalEndpoints {
  get(name: string): NetworkServiceEndpoint | undefined;
  /** Those that provide the service, oldest first. */
  ofService(service: string): readonly NetworkServiceEndpoint[];
  all(): Iterable<NetworkServiceEndpoint>;
  set(endpoint: NetworkServiceEndpoint): void;
  delete(name: string): void;
  /** Called after each set (with the endpoint) and delete (with undefined); the result stops it. */
  onChange(listener: (name: string, endpoint: NetworkServiceEndpoint | undefined) => void): () => void;
}

export function createLocalEndpoints(): LocalEndpoints {
  const byName = new Map<string, NetworkServiceEndpoint>();
  const listeners = new Set<(name: string, endpoint: NetworkServiceEndpoint | undefined) => void>();
  const tell = (name: string, endpoint: NetworkServiceEndpoint | undefined): void => {
    for (const listener of [...listeners]) listener(name, endpoint);
  };
  return {
    get: (name) => byName.get(name),
    ofService: (service) => [...byName.values()].filter((endpoint) => endpoint.network_service_names.includes(service)),
    all: () => byName.values(),
    set(endpoint) {
      byName.set(endpoint.name, endpoint);
      tell(endpoint.name, endpoint);
    },
    delete(name) {
      if (byName.delete(name)) tell(name, undefined);
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
