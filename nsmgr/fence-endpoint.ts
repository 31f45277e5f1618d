/**
 * fence-endpoint — an endpoint that was believed dead and replaced under its name does not come back.
 * Adds:   context.isStranger: it bears no time of birth, nor is one known here under its name
 * Does:   a new incarnation at another URL gets a later time of first registration; what an older one unregisters stays
 * Fails:  ALREADY_EXISTS an older incarnation registers
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import { asNewIncarnation, isSuperseded, superseded } from "../sdk/registry/fence.js";
import type { LocalEndpoints } from "./local-endpoints.js";

export interface HasStranger {
  readonly isStranger: boolean;
}

export function fenceEndpoint(
  locals: Pick<LocalEndpoints, "get">,
  clock: Pick<Clock, "nowMs">,
): Element<EndpointRegistryApi, object, HasStranger> {
  return {
    name: "fence-endpoint",
    steps: {
      async register(endpoint, _context, rest) {
        const current = locals.get(endpoint.name);
        if (isSuperseded(endpoint, current)) throw superseded(endpoint.name);
        const entry = asNewIncarnation(endpoint, current, clock.nowMs());
        const isStranger = entry.initial_registration_time === undefined && current?.initial_registration_time === undefined;
        return rest.register(entry, { isStranger });
      },
      async unregister(endpoint, _context, rest) {
        if (!isSuperseded(endpoint, locals.get(endpoint.name))) await rest.unregister(endpoint, { isStranger: false });
      },
    },
  };
}
