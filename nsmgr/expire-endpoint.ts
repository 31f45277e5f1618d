/**
 * expire-endpoint — forgets an endpoint of this node when it stops refreshing its entry.
 * Does:   lowers the expiration time to the longest life allowed; one timer per endpoint, re-armed by each registration
 *         that is not refused. The registry lets the entry expire by itself at the same time; telling it to would take
 *         out an endpoint of the same name that has come up on another node meanwhile
 * Fails:  INVALID_ARGUMENT when the expiration time has passed already
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import type { Clock, Disarm } from "../sdk/clock.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, statusError } from "../sdk/status.js";
import type { Log } from "../sdk/telemetry/log.js";
import { timestampMs, timestampOf } from "../sdk/timestamp.js";
import { isUnreachable } from "./local-bypass.js";

export interface ExpireEndpointOptions {
  readonly clock: Clock;
  /** Longest life of an entry without a refresh, in milliseconds. */
  readonly maxLifetimeMs: number;
  /** Called when the life of an endpoint has ended. */
  readonly expired: (name: string) => void;
  readonly log: Log;
  /** Aborts at shutdown: timers are disarmed and entries stay; the registry lets them expire. */
  readonly signal: AbortSignal;
}

export function expireEndpoint(options: ExpireEndpointOptions): Element<EndpointRegistryApi> {
  const { clock, log, signal } = options;
  const timers = new Map<string, { readonly disarm: Disarm; readonly rearm: () => void }>();
  const disarm = (name: string): (() => void) | undefined => {
    const timer = timers.get(name);
    timer?.disarm();
    timers.delete(name);
    return timer?.rearm;
  };
  const arm = (endpoint: NetworkServiceEndpoint, atMs: number): void => {
    disarm(endpoint.name);
    if (signal.aborted) return;
    const fire = (): void => {
      timers.delete(endpoint.name);
      log.info("endpoint expired: it has not refreshed its entry", { endpoint: endpoint.name });
      options.expired(endpoint.name);
    };
    timers.set(endpoint.name, { disarm: clock.at(atMs, fire), rearm: () => arm(endpoint, atMs) });
  };
  signal.addEventListener("abort", () => [...timers.keys()].forEach(disarm), { once: true });
  return {
    name: "expire-endpoint",
    steps: {
      async register(endpoint, _context, rest) {
        const atMs = expiryMs(endpoint, clock.nowMs(), options.maxLifetimeMs);
        const lowered = { ...endpoint, expiration_time: timestampOf(atMs) };
        const rearm = disarm(endpoint.name);
        try {
          const accepted = await rest.register(lowered);
          const acceptedMs = accepted.expiration_time === undefined ? atMs : timestampMs(accepted.expiration_time);
          arm(lowered, Math.min(acceptedMs, atMs));
          return accepted;
        } catch (error) {
          // the endpoint lives and only the registry is away: what is known of it here stays as long
          if (isUnreachable(error)) arm(lowered, atMs);
          else rearm?.();
          throw error;
        }
      },
      async unregister(endpoint, _context, rest) {
        const rearm = disarm(endpoint.name);
        try {
          await rest.unregister(endpoint);
        } catch (error) {
          rearm?.();
          throw error;
        }
      },
    },
  };
}

/** When the entry ends if nobody refreshes it, in milliseconds since the epoch. */
function expiryMs(endpoint: NetworkServiceEndpoint, nowMs: number, maxLifetimeMs: number): number {
  if (endpoint.expiration_time === undefined) return nowMs + maxLifetimeMs;
  const givenMs = timestampMs(endpoint.expiration_time);
  if (!(givenMs > nowMs)) {
    const text = `endpoint ${endpoint.name}: its expiration_time has passed; leave it unset to get ${maxLifetimeMs} ms`;
    throw statusError(Code.INVALID_ARGUMENT, text);
  }
  return Math.min(givenMs, nowMs + maxLifetimeMs);
}
