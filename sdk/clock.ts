/**
 * Time as an argument, for code that decides by it (expiry, refresh, heal); tests advance it by hand.
 */
export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
  /** Runs `action` once at that time (epoch milliseconds); the result disarms it. Any distance in time is allowed. */
  at(timeMs: number, action: () => void): Disarm;
}
export type Disarm = () => void;

/** Longest delay that `setTimeout` honours; a longer one would fire after 1 ms (Node.js timers documentation). */
const maxDelayMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  at(timeMs, action) {
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const delayMs = Math.max(0, timeMs - Date.now());
      timer = delayMs > maxDelayMs ? setTimeout(arm, maxDelayMs) : setTimeout(action, delayMs);
    };
    arm();
    return () => clearTimeout(timer);
  },
};

/** A clock that stands still until advanced; for tests and simulations. */
export function manualClock(startMs = 0): Clock & { advance(byMs: number): void } {
  let nowMs = startMs;
  const armed = new Set<{ timeMs: number; action: () => void }>();
  return {
    nowMs: () => nowMs,
    at(timeMs, action) {
      const entry = { timeMs, action };
      armed.add(entry);
      return () => armed.delete(entry);
    },
    advance(byMs) {
      const untilMs = nowMs + byMs;
      for (;;) {
        let next: { timeMs: number; action: () => void } | undefined;
        for (const entry of armed) {
          if (entry.timeMs <= untilMs && (next === undefined || entry.timeMs < next.timeMs)) next = entry;
        }
        if (next === undefined) break;
        armed.delete(next);
        nowMs = Math.max(nowMs, next.timeMs);
        next.action();
      }
      nowMs = untilMs;
    },
  };
}
