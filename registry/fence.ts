/**
 * fence — an endpoint that was replaced under its name, on another node too, does not come back.
 * Needs:  current (look-up)
 * Does:   a new incarnation at another URL gets a later time of first registration; what an older one unregisters stays
 * Fails:  ALREADY_EXISTS an older incarnation registers
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { asNewIncarnation, isSuperseded, superseded } from "../sdk/registry/fence.js";
import { timestampMs } from "../sdk/timestamp.js";
import type { HasCurrent } from "./look-up.js";

export function fence(clock: Pick<Clock, "nowMs">): Element<EndpointRegistryApi, HasCurrent<NetworkServiceEndpoint>> {
  const living = (entry: NetworkServiceEndpoint | undefined): NetworkServiceEndpoint | undefined => {
    const ends = entry?.expiration_time;
    return ends === undefined || timestampMs(ends) > clock.nowMs() ? entry : undefined;
  };
  return {
    name: "fence",
    steps: {
      async register(entry, { current }, rest) {
        const rival = living(current);
        if (isSuperseded(entry, rival)) throw superseded(entry.name);
        return rest.register(asNewIncarnation(entry, rival, clock.nowMs()));
      },
      async unregister(entry, { current }, rest) {
        if (!isSuperseded(entry, living(current))) await rest.unregister(entry);
      },
    },
  };
}
