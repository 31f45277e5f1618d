/**
 * What a component says of itself to gRPC health probes (grpc.health.v1): one status for the whole ("") and one for
 * each named part, each backed by whoever knows. The whole serves only while every part does.
 */
import { HealthCheckResponse_ServingStatus } from "../gen/health.js";

export type ServingStatus = HealthCheckResponse_ServingStatus;
export const ServingStatus = HealthCheckResponse_ServingStatus;

export interface Health {
  /** Sets one part, for example "dataplane"; the name "" is the component's own readiness. */
  set(part: string, serving: boolean): void;
  /** SERVICE_UNKNOWN for a part nobody has set. */
  check(part: string): ServingStatus;
  /** The status now and every change of it, until the signal aborts. */
  watch(part: string, signal: AbortSignal): AsyncIterable<ServingStatus>;
}

/** Starts as NOT_SERVING; main.ts sets "" to serving when the component answers, and back when it drains. */
export function createHealth(): Health {
  const parts = new Map<string, boolean>([["", false]]);
  const watchers = new Set<() => void>();
  const check = (part: string): ServingStatus => {
    if (!parts.has(part)) return ServingStatus.SERVICE_UNKNOWN;
    const serving = part === "" ? [...parts.values()].every(Boolean) : parts.get(part);
    return serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  return {
    set(part, serving) {
      parts.set(part, serving);
      for (const wake of watchers) wake();
    },
    check,
    async *watch(part, signal) {
      let wake = (): void => {};
      const notify = (): void => wake();
      watchers.add(notify);
      signal.addEventListener("abort", notify);
      try {
        let told: ServingStatus | undefined;
        while (!signal.aborted) {
          const changed = new Promise<void>((resolve) => {
            wake = resolve;
          });
          const now = check(part);
          if (now !== told) {
            told = now;
            yield now;
          } else {
            await changed;
          }
        }
      } finally {
        watchers.delete(notify);
        signal.removeEventListener("abort", notify);
      }
    },
  };
}
