/**
 * directory — the registry as the steps of the manager ask it: kept current by watches, so that a request of a known
 * service asks nobody. While the registry is away the last answers stand in for a while (sdk/registry/cache.ts).
 */
import type { Clock } from "../sdk/clock.js";
import { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { type WatchedCache, watchedCache } from "../sdk/registry/cache.js";
import { Code, statusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs } from "../sdk/timestamp.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";

export interface Directory {
  /** As the registry has them, from memory; URLs of this node's endpoints are the manager's own. */
  readonly services: WatchedCache<NetworkService>;
  readonly endpoints: WatchedCache<NetworkServiceEndpoint>;
  /** NOT_FOUND if there is none of that name (and payload, unless empty). */
  serviceOf(name: string, payload: string, signal: AbortSignal): Promise<NetworkService>;
  /** As the registry has it now. */
  endpointOf(name: string, signal: AbortSignal): Promise<NetworkServiceEndpoint | undefined>;
  /** Whether the registry itself has a living endpoint of that name under this manager's URL. */
  isRegisteredHere(name: string, signal: AbortSignal): Promise<boolean>;
}

export interface DirectoryDeps {
  readonly services: RemoteRegistry<NetworkService>;
  readonly endpoints: RemoteRegistry<NetworkServiceEndpoint>;
  readonly publicUrl: () => string;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the watches. */
  readonly signal: AbortSignal;
}

export function createDirectory(deps: DirectoryDeps): Directory {
  const { clock, log, signal } = deps;
  const services = watchedCache(deps.services, { clock, log, signal });
  const endpoints = watchedCache(deps.endpoints, { clock, log, signal });

  /** Asks the registry itself: these questions are rare, and a watch for each name would be kept for nothing. */
  async function endpointNow(name: string, signal: AbortSignal): Promise<NetworkServiceEndpoint | undefined> {
    const query = NetworkServiceEndpoint.fromPartial({ name });
    for await (const { entry } of deps.endpoints.find(query, { watch: false, signal })) if (entry.name === name) return entry;
    return undefined;
  }

  return {
    services,
    endpoints,
    async serviceOf(name, payload, signal) {
      let service: NetworkService | undefined;
      for await (const { entry } of services.find(NetworkService.fromPartial({ name }), { watch: false, signal })) {
        if (entry.name === name) service = entry;
      }
      if (service === undefined) {
        throw statusError(Code.NOT_FOUND, `network service ${name} is not found; register it, or start an endpoint that does`);
      }
      if (payload !== "" && service.payload !== "" && service.payload !== payload) {
        const text = `network service ${name} has payload ${service.payload}, the request asks for ${payload}; ask without payload`;
        throw statusError(Code.NOT_FOUND, text);
      }
      return service;
    },
    endpointOf: endpointNow,
    async isRegisteredHere(name, signal) {
      const entry = await endpointNow(name, signal);
      if (entry === undefined || entry.url !== deps.publicUrl()) return false;
      return entry.expiration_time === undefined || timestampMs(entry.expiration_time) > clock.nowMs();
    },
  };
}
