/** Pauses between tries (pure): they grow to a ceiling and are spread, so that many clients do not return at once. */
export interface Backoff {
  readonly firstMs: number;
  readonly ceilingMs: number;
}

export const defaultBackoff: Backoff = { firstMs: 50, ceilingMs: 1_000 };

/**
 * Pause after a number of failures in a row, in milliseconds: doubled each time, then spread by ± 30 %.
 * @param failures  1 after the first failure
 * @param random  0 ≤ random < 1
 */
export function backoffMs(backoff: Backoff, failures: number, random: number): number {
  const doublings = Math.min(Math.max(failures, 1) - 1, 30);
  const planMs = Math.min(backoff.ceilingMs, backoff.firstMs * 2 ** doublings);
  return Math.round(planMs * (0.7 + 0.6 * random));
}
