/**
 * When to believe that a path carries larger packets than before (pure). Confirm before it is used (RFC 8899, section 4.4): some
 * measurements in a row must agree. A path that falls back soon after it has grown flaps; each time it has to show itself good for
 * twice as long, so that the interfaces of connections do not flap with it.
 */
export interface PathGrowth {
  /**
   * What to believe after another measurement.
   * @param believedBytes  until now
   */
  follow(believedBytes: number, measuredBytes: number, nowMs: number): number;
  /** Something larger was measured, not often enough yet. */
  awaitsMore(): boolean;
}

const fewestMeasurements = 3;
/** At one a second: some two minutes. */
const mostMeasurements = 128;
/** A path that has held so long after it grew does not flap. */
const calmMs = 600_000;

export function createPathGrowth(): PathGrowth {
  let needed = fewestMeasurements;
  let agreeing = 0;
  let leastBytes = 0;
  let grownAtMs = Number.NEGATIVE_INFINITY;
  return {
    follow(believedBytes, measuredBytes, nowMs) {
      if (measuredBytes <= believedBytes) {
        agreeing = 0;
        if (measuredBytes === believedBytes) return believedBytes;
        needed = nowMs - grownAtMs < calmMs ? Math.min(needed * 2, mostMeasurements) : fewestMeasurements;
        return measuredBytes;
      }
      leastBytes = agreeing === 0 ? measuredBytes : Math.min(leastBytes, measuredBytes);
      agreeing += 1;
      if (agreeing < needed) return believedBytes;
      agreeing = 0;
      grownAtMs = nowMs;
      return leastBytes;
    },
    awaitsMore: () => agreeing > 0,
  };
}
