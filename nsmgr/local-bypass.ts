/**
 * local-bypass — other nodes reach an endpoint of this node through this manager, this node reaches it directly.
 * Does:   keeps the endpoint's real URL here, registers it upstream under the manager's public URL, and gives the real
 *         URL back to who registered it
 * Fails:  INVALID_ARGUMENT when name or URL is missing or malformed; else as upstream. While upstream cannot be
 *         reached the endpoint is known here all the same: the forwarders of a node are needed when the registry is away
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, isStatusError, statusError, toStatusError } from "../sdk/status.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export function localBypass(locals: LocalEndpoints, publicUrl: () => string): Element<EndpointRegistryApi> {
  return {
    name: "local-bypass",
    steps: {
      async register(endpoint, _context, rest) {
        requireUrl(endpoint);
        const previous = locals.get(endpoint.name);
        // Known before upstream knows: its watchers may be told before our call returns. But a name in use here keeps its
        // URL until upstream has agreed that it is the same owner.
        const early = previous === undefined || previous.url === endpoint.url;
        if (early) locals.set(endpoint);
        try {
          const accepted = await rest.register({ ...endpoint, url: publicUrl() });
          const known = { ...accepted, url: endpoint.url };
          locals.set(known);
          return known;
        } catch (error) {
          if (early && !isUnreachable(error)) {
            if (previous === undefined) locals.delete(endpoint.name);
            else locals.set(previous);
          }
          throw error;
        }
      },
      async unregister(endpoint, _context, rest) {
        const known = locals.get(endpoint.name);
        // as upstream does: not ours, nothing to do
        if (known === undefined) return;
        try {
          await rest.unregister({ ...known, url: publicUrl() });
        } catch (error) {
          // it is gone from this node in any case; its entry upstream expires
          if (isUnreachable(error)) locals.delete(endpoint.name);
          throw error;
        }
        locals.delete(endpoint.name);
      },
    },
  };
}

/** Whether the error says that nobody answered, rather than that somebody refused. */
export function isUnreachable(error: unknown): boolean {
  const code = isStatusError(error) ? error.code : toStatusError(error).code;
  return code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED;
}

function requireUrl(endpoint: NetworkServiceEndpoint): void {
  if (endpoint.name === "") {
    throw statusError(Code.INVALID_ARGUMENT, "the endpoint has no name; set NetworkServiceEndpoint.name");
  }
  if (!URL.canParse(endpoint.url)) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `endpoint ${endpoint.name}: URL "${endpoint.url}" cannot be parsed; write unix:///path/to.sock or tcp://host:port`,
    );
  }
}
