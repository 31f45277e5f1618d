/** What a peer may do that costs us work and brings nobody anything: so much at once, and so much a second. */
export interface Budget {
  left: number;
  sinceMs: number;
  readonly atOnce: number;
  readonly perSecond: number;
}

export function createBudget(atOnce: number, perSecond: number): Budget {
  return { left: atOnce, sinceMs: performance.now(), atOnce, perSecond };
}

/** Takes one; false = there is none left. */
export function spend(budget: Budget): boolean {
  if (budget.left >= 1) {
    budget.left--;
    return true;
  }
  const nowMs = performance.now();
  const gained = ((nowMs - budget.sinceMs) / 1000) * budget.perSecond;
  budget.sinceMs = nowMs;
  budget.left = Math.min(budget.atOnce, budget.left + gained) - 1;
  if (budget.left >= 0) return true;
  budget.left += 1;
  return false;
}
