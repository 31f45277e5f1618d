/**
 * grant-lease — sets when an endpoint's entry ends unless it is registered again, and remembers when it first came.
 * Needs:  caller (enter-path), current (look-up)
 * Does:   lease = the earliest of what was asked, now + the period, and the end of the tokens involved
 * Fails:  INVALID_ARGUMENT when that is already over
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Clock } from "../sdk/clock.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { HasCaller } from "../sdk/registry/enter-path.js";
import { Code, statusError } from "../sdk/status.js";
import { timestampMs, timestampOf } from "../sdk/timestamp.js";
import type { HasCurrent } from "./look-up.js";

export function grantLease(options: {
  readonly clock: Clock;
  readonly periodMs: number;
}): Element<EndpointRegistryApi, HasCaller & HasCurrent<NetworkServiceEndpoint>> {
  const { clock, periodMs } = options;
  return {
    name: "grant-lease",
    steps: {
      async register(entry, { caller, current }, rest) {
        const nowMs = clock.nowMs();
        const askedMs = entry.expiration_time === undefined ? undefined : timestampMs(entry.expiration_time);
        const endsMs = Math.min(
          askedMs ?? Number.POSITIVE_INFINITY,
          nowMs + periodMs,
          caller.tokenEndsMs ?? Number.POSITIVE_INFINITY,
        );
        if (!(endsMs > nowMs)) {
          const what = endsMs === askedMs ? "expiration_time asked for" : "token of the caller";
          throw statusError(
            Code.INVALID_ARGUMENT,
            `endpoint ${entry.name} cannot be registered: the ${what} has ended ${Math.ceil((nowMs - endsMs) / 1_000)} s ago; ` +
              "leave it out, or set the clocks right",
          );
        }
        const initial = entry.initial_registration_time ?? current?.initial_registration_time ?? timestampOf(nowMs);
        return rest.register({ ...entry, expiration_time: timestampOf(endsMs), initial_registration_time: initial });
      },
    },
  };
}
