/** How far the reports of a probe are believed (pure): one that was never answered may be filtered on the way. */
import type { LivenessReport } from "./liveness.js";

export interface Trust {
  /** The reports of the control plane must do. */
  readonly cannotTell: boolean;
  /** There is a new answer; the next verdict is about it. */
  granted(): void;
  /** Another path is looked at: it may be answered. */
  watched(): void;
  /** What to make of a report; "trust-lost": from now on it cannot tell; undefined: nothing new. */
  judge(report: LivenessReport): "alive" | "dead" | "trust-lost" | undefined;
}

/**
 * So many grants are believed to be dead of a connection that was never seen alive: enough to try the same endpoint and
 * another one. After that it is the probe that does not work, and healing would only cut what may well carry traffic.
 */
const trustUnheard = 2;

export function createTrust(): Trust {
  let cannotTell = false;
  let everAlive = false;
  let deadUnheard = 0;
  /** Further verdicts about the same grant, as they come in while a Request is under way, are no news. */
  let grantJudged = false;
  return {
    get cannotTell() {
      return cannotTell;
    },
    granted() {
      grantJudged = false;
    },
    watched() {
      if (deadUnheard <= trustUnheard) cannotTell = false;
    },
    judge(report) {
      if (report === "alive") {
        everAlive = true;
        cannotTell = false;
      } else if (report === "dead" && !everAlive && !grantJudged) {
        deadUnheard += 1;
        grantJudged = true;
      }
      if (report !== "cannot-tell" && (everAlive || deadUnheard <= trustUnheard)) return report;
      if (cannotTell) return undefined;
      cannotTell = true;
      return "trust-lost";
    },
  };
}
