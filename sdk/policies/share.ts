/**
 * How many new requests one tenant may have under way while the process is short of time: less and less while it stays so
 * (halved), more again when it has time (one by one). Whoever is alone keeps as many as use all of the time. So a storm
 * has a few requests between another's and its answer, not as many as it likes. No clock inside: it is asked.
 */
export interface ShareOptions {
  readonly nowMs: () => number;
  /** The part of the time since the last question in which the process was at work, 0 to 1. */
  readonly utilization: () => number;
  /** What is never exceeded. */
  readonly most: number;
}

export interface Share {
  /** @param tenant  who asks now: whoever has asked within the last seconds is here */
  most(tenant: string): number;
}

const sampleMs = 100;
/** Who has been quiet for so long has gone. */
const hereMs = 1_000;
const tooBusy = 0.75;
const hasTime = 0.6;
/** More under way at once make nothing faster when the process is busy. */
const enough = 16;

export function createShare({ nowMs, utilization, most }: ShareOptions): Share {
  /** When each has asked last, the longest silent first. */
  const seen = new Map<string, number>();
  let share = most;
  let sampledMs = Number.NEGATIVE_INFINITY;

  function forgetSilent(now: number): void {
    for (const [tenant, lastMs] of seen) {
      if (now - lastMs < hereMs) return;
      seen.delete(tenant);
    }
  }

  return {
    most(tenant) {
      const now = nowMs();
      seen.delete(tenant);
      seen.set(tenant, now);
      forgetSilent(now);
      if (now - sampledMs >= sampleMs) {
        const isFirst = sampledMs === Number.NEGATIVE_INFINITY;
        sampledMs = now;
        const used = utilization();
        if (isFirst) share = most;
        else if (used > tooBusy) share = Math.max(1, Math.floor(Math.min(share, enough) / 2));
        else if (used < hasTime) share = Math.min(most, share + 1);
      }
      return seen.size < 2 ? Math.max(share, Math.min(most, enough)) : share;
    },
  };
}
