/**
 * fence-endpoint — an endpoint that was believed dead and replaced under its name does not come back.
 * Does:   a new incarnation at another URL gets a later time of first registration; what an older one unregisters stays
 * Fails:  ALREADY_EXISTS an older incarnation registers
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import { asNewIncarnation, isSuperseded, superseded } from "../sdk/registry/fence.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export function fenceEndpoint(locals: Pick<LocalEndpoints, "get">, clock: Pick<Clock, "nowMs">): Element<EndpointRegistryApi> {
  return {
    name: "fence-endpoint",
    steps: {
      async register(endpoint, _context, rest) {
        const current = locals.get(endpoint.name);
        if (isSuperseded(endpoint, current)) throw superseded(endpoint.name);
        return rest.register(asNewIncarnation(endpoint, current, clock.nowMs()));
      },
      async unregister(endpoint, _context, rest) {
        if (!isSuperseded(endpoint, locals.get(endpoint.name))) await rest.unregister(endpoint);
      },
    },
  };
}
