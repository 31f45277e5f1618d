/** What the heal machine (heal.ts) remembers of a connection. */
import type { Ask } from "./heal-events.js";

export type Cause = "control" | "data" | "report" | "refresh" | "order";

export interface Trouble {
  readonly cause: Cause;
  readonly reason: string;
  readonly sinceMs: number;
  /** Since when no data path is known to live; counts towards giving up. */
  readonly lostSinceMs: number;
  /** The last thing asked for in this trouble. */
  readonly asked: Ask | undefined;
  /** A reselect has been asked for: what we had before no longer exists. */
  readonly released: boolean;
  /** Granted, waiting until this time for the probe to see packets. */
  readonly verifyByMs: number | undefined;
  /** The control plane reports it as down, and since then the probe has not seen a packet: its verdict is due. */
  readonly doubted: boolean;
  /** Without a probe, reported as down: until then it may be alive; undefined = nothing speaks against it. */
  readonly patientUntilMs: number | undefined;
  /** Next try; undefined while one is under way or verified. */
  readonly askAtMs: number | undefined;
}

export interface HealState {
  readonly ended: boolean;
  readonly control: "watched" | "lost";
  readonly data: "unknown" | "alive" | "dead";
  readonly asking: Ask | undefined;
  readonly failures: number;
  /** Faults in a row of which each came soon after the healing of the one before. */
  readonly relapses: number;
  readonly trouble: Trouble | undefined;
  readonly refreshAtMs: number;
  readonly expiresAtMs: number;
  readonly healedAtMs: number;
}

/** The state after the first granted Request. */
export function startHealing(granted: { refreshAtMs: number; expiresAtMs: number }): HealState {
  return {
    ended: false,
    control: "watched",
    data: "unknown",
    asking: undefined,
    failures: 0,
    relapses: 0,
    trouble: undefined,
    refreshAtMs: granted.refreshAtMs,
    expiresAtMs: granted.expiresAtMs,
    healedAtMs: Number.NEGATIVE_INFINITY,
  };
}

export function newTrouble(cause: Cause, reason: string, nowMs: number, asked?: Ask): Trouble {
  return {
    cause,
    reason,
    sinceMs: nowMs,
    lostSinceMs: nowMs,
    asked,
    released: false,
    doubted: cause === "report",
    verifyByMs: undefined,
    patientUntilMs: undefined,
    askAtMs: undefined,
  };
}
