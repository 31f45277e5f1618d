/**
 * expire-endpoint — takes an endpoint out of the registry when it stops refreshing its entry.
 * Does:   lowers the expiration time to the longest life allowed; one timer per endpoint, re-armed by each registration
 *         that is not refused; at its end the entry goes through the rest of the chain as unregister
 * Fails:  INVALID_ARGUMENT when the expiration time has passed already
 */
import type { EndpointRegistryApi } from "../sdk/api.js";
import type { Element, Rest } from "../sdk/chain.js";
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
  /** How long the unregistration at the end may take, in milliseconds. */
  readonly timeoutMs: number;
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
  const arm = (endpoint: NetworkServiceEndpoint, atMs: number, expired: () => Promise<void>): void => {
    disarm(endpoint.name);
    if (signal.aborted) return;
    const fire = (): void => {
      timers.delete(endpoint.name);
      log.info("endpoint expired: it has not refreshed its entry", { endpoint: endpoint.name });
      expired().catch((error: unknown) => log.warn("expired endpoint not unregistered", { endpoint: endpoint.name, error }));
    };
    timers.set(endpoint.name, { disarm: clock.at(atMs, fire), rearm: () => arm(endpoint, atMs, expired) });
  };
  signal.addEventListener("abort", () => [...timers.keys()].forEach(disarm), { once: true });
  return {
    name: "expire-endpoint",
    steps: {
      async register(endpoint, _context, rest) {
        const atMs = expiryMs(endpoint, clock.nowMs(), options.maxLifetimeMs);
        const lowered = { ...endpoint, expiration_time: timestampOf(atMs) };
        const expired = (): Promise<void> => later(rest, signal, options.timeoutMs).unregister(lowered);
        const rearm = disarm(endpoint.name);
        try {
          const accepted = await rest.register(lowered);
          const acceptedMs = accepted.expiration_time === undefined ? atMs : timestampMs(accepted.expiration_time);
          arm(lowered, Math.min(acceptedMs, atMs), expired);
          return accepted;
        } catch (error) {
          // the endpoint lives and only the registry is away: what is known of it here stays as long
          if (isUnreachable(error)) arm(lowered, atMs, expired);
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

type EndpointRest = Parameters<NonNullable<Element<EndpointRegistryApi>["steps"]["register"]>>[2];

function later(rest: EndpointRest, signal: AbortSignal, timeoutMs: number): Rest<EndpointRegistryApi> {
  return rest.detach({ signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) });
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
