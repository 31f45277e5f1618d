/** Waiting for work that runs on its own: it ends at once when the signal does, and leaves no timer behind. */
import type { Clock } from "../clock.js";

/** Waits; true = the time has passed, false = the signal ended it. Never rejects. */
export function pause(clock: Clock, durationMs: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const stop = (): void => {
      disarm();
      resolve(false);
    };
    const disarm = clock.at(clock.nowMs() + durationMs, () => {
      signal.removeEventListener("abort", stop);
      resolve(true);
    });
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Growing pauses between tries: 200 ms, doubled up to 2 s unless it says otherwise, each shortened by up to half so that clients spread. */
export interface BackOff {
  nextMs(): number;
  reset(): void;
}

const firstPauseMs = 200;
const longestPauseMs = 2_000;

export function createBackOff(random: () => number, longestMs: number = longestPauseMs): BackOff {
  let pauseMs = firstPauseMs;
  return {
    nextMs() {
      const now = pauseMs * (1 - random() / 2);
      pauseMs = Math.min(pauseMs * 2, longestMs);
      return now;
    },
    reset() {
      pauseMs = firstPauseMs;
    },
  };
}

/** Runs one try with a signal that also ends after `timeoutMs` (as a TimeoutError). */
export async function tryFor<T>(
  timeoutMs: number,
  signal: AbortSignal,
  what: string,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => controller.abort(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const timer = setTimeout(
    () => controller.abort(new DOMException(`${what}: no answer within ${timeoutMs} ms`, "TimeoutError")),
    timeoutMs,
  );
  try {
    return await run(controller.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}
