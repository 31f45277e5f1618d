/** The gate of a server: tenants that go on asking for too much are refused by their name, see patience.ts. */
import { performance } from "node:perf_hooks";
import { identityOf, type Peer } from "../peer.js";
import { withRetryHint } from "../transport/edge-status.js";
import { type Gate, tooMuch } from "../transport/gate.js";
import { methods } from "../transport/methods.js";
import type { Admission } from "./admission.js";
import type { Audit } from "./audit.js";

/** What costs something. Giving back, watching and asking for health are always looked at. */
const gated: ReadonlySet<string> = new Set(
  [methods.request, methods.registerEndpoint, methods.registerService].map(({ path }) => path),
);
/** A storm is one line of the log in so long a time. */
const tellEveryMs = 10_000;
const maxTold = 1_000;

export function gateOf(admission: Pick<Admission, "holdMs">, audit: Audit, nowMs: () => number): Gate {
  const toldMs = new Map<string, number>();

  function tell(name: string, peer: Peer, method: string): void {
    const now = nowMs();
    if (now - (toldMs.get(name) ?? Number.NEGATIVE_INFINITY) < tellEveryMs) return;
    if (toldMs.size >= maxTold) toldMs.clear();
    toldMs.set(name, now);
    const reason = "it goes on asking for more than it may: for some seconds its calls are refused unseen";
    audit({ method, peer, object: "", policy: "admission", reason });
  }

  return {
    refuse(peer, method) {
      if (!gated.has(method)) return undefined;
      const name = identityOf(peer)?.spiffeId ?? "";
      const holdMs = name === "" ? undefined : admission.holdMs(name);
      if (holdMs === undefined) return undefined;
      tell(name, peer, method);
      return { status: withRetryHint(tooMuch(name, holdMs), holdMs), holdMs };
    },
  };
}

/** The part of the time since it was last asked in which the event loop was at work. */
export function eventLoopUse(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
