/**
 * The clock of the node, held against the API server's: tokens and certificates have times in them, and a node whose clock is
 * wrong is refused by the others for reasons that name no clock.
 */
import { systemClock } from "../../sdk/clock.js";
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import type { ReportEvent } from "../../sdk/kubernetes/report-event.js";
import { pause } from "../../sdk/registry/pause.js";
import { toStatusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";

export interface WatchClockOptions {
  readonly api: KubernetesApi;
  readonly node: string;
  readonly reportEvent: ReportEvent;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly nowMs?: () => number;
  readonly everyMs?: number;
}

/** Certificates are back-dated by more, and tokens live for minutes; network time is off by milliseconds. */
const allowedMs = 30_000;
/** The header has whole seconds. */
const halfSecondMs = 500;

/** Looks until the signal aborts; each hour in which the clock is wrong there is one event on the node. */
export async function watchClock(options: WatchClockOptions): Promise<void> {
  const { api, node, log, signal, nowMs = Date.now, everyMs = 60_000 } = options;
  let wrong = false;
  do {
    try {
      await api.call({ path: "/version", signal });
      const told = api.serverClock();
      const aheadMs = told === undefined ? 0 : nowMs() - (told.toldMs + halfSecondMs + told.sinceMs);
      const message = clockProblem(aheadMs);
      if (message !== undefined) {
        log.error("the clock of this node is wrong", { node, aheadMs: Math.round(aheadMs) });
        // as kubelets do: `kubectl describe node` looks for the name where other objects have their uid
        const object = { apiVersion: "v1", kind: "Node", metadata: { name: node, uid: node } };
        await options.reportEvent({ object, type: "Warning", reason: "ClockSkew", message });
      } else if (wrong) log.info("the clock of this node is right again", { node });
      wrong = message !== undefined;
    } catch (error) {
      if (!signal.aborted) log.debug("the API server's clock is not known", { error: toStatusError(error) });
    }
  } while (await pause(systemClock, everyMs, signal));
}

/** What is said of a clock that is ahead by so much (behind: negative); undefined = it is right. */
export function clockProblem(aheadMs: number): string | undefined {
  if (Math.abs(aheadMs) <= allowedMs) return undefined;
  // in steps, so that an event of the same trouble is the same event
  const seconds = Math.round(Math.abs(aheadMs) / 10_000) * 10;
  const side = aheadMs > 0 ? "ahead of" : "behind";
  const effect = "connections through it are refused as expired or not yet valid";
  return `the clock of this node is about ${seconds} s ${side} that of the API server: ${effect}; synchronize it (chrony, systemd-timesyncd)`;
}
