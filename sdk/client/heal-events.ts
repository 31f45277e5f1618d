/** What the heal machine (heal.ts) hears, says and is told to observe. */
import type { Backoff } from "./backoff.js";

/**
 * same: a refresh of what we have; reselect: everything after our node manager is chosen anew; beside: as reselect, but a
 * second connection is made and probed while the first one carries on, and takes its place.
 */
export type Ask = "same" | "reselect" | "beside";

export interface HealRules {
  /** A liveness check runs and reports `alive` and `dead`. */
  readonly checked: boolean;
  /** A second connection can stand beside the first one: planned moves lose nothing. */
  readonly beside: boolean;
  readonly backoff: Backoff;
  /** How long a granted connection may take until the probe sees packets. */
  readonly verifyMs: number;
  /** How long the probe may take, told to hurry, to say whether a connection that is reported as down is so. */
  readonly verdictMs: number;
  /**
   * Without a probe: how long a connection that is reported as down may yet be alive, if nothing says otherwise. Longer than a
   * manager or forwarder takes to restart; counted anew from the last packet that came in.
   */
  readonly patienceMs: number;
  /** A fault this soon after the last healing may be the same trouble: between that and the next try is a pause. */
  readonly settleMs: number;
  /** Time without a living data path after which healing ends; undefined = never. */
  readonly giveUpAfterMs: number | undefined;
}

export type HealEvent =
  | { readonly kind: "granted"; readonly refreshAtMs: number; readonly expiresAtMs: number }
  | {
      readonly kind: "refused";
      readonly reason: string;
      /** Something of it is not there any more, as far as the one who refuses knows. */
      readonly gone?: boolean;
      /** Who refuses has too much to do, and wants to be asked again after so long: it says nothing about the endpoint. */
      readonly retryAfterMs?: number | undefined;
    }
  /** The monitor shows our connection in state DOWN; `broken`: a hop has seen that packets do not pass. */
  | { readonly kind: "down"; readonly broken?: boolean }
  /** Packets come in through the connection's interface. Only of a client without a probe. */
  | { readonly kind: "passing" }
  /** The monitor says that our node manager no longer has it. */
  | { readonly kind: "deleted" }
  | { readonly kind: "reselect-requested" }
  | { readonly kind: "refresh-requested" }
  | { readonly kind: "control-lost" }
  /** The monitor stream is back; `known`: our connection was in its first message. */
  | { readonly kind: "control-back"; readonly known: boolean }
  | { readonly kind: "alive" }
  | { readonly kind: "dead" }
  /** The time asked for by `wakeAtMs` has come. */
  | { readonly kind: "wake" }
  | { readonly kind: "close" };

export type HealAction =
  /** One Request; its outcome comes back as `granted` or `refused`. Never two at a time. */
  | { readonly kind: "ask"; readonly how: Ask }
  /** Probe now instead of at the next interval; `seen`: somebody has seen that packets do not pass. */
  | { readonly kind: "probe"; readonly seen: boolean }
  | { readonly kind: "trouble"; readonly reason: string }
  | { readonly kind: "healed"; readonly how: Ask | "itself"; readonly tookMs: number }
  | { readonly kind: "gave-up"; readonly reason: string };
