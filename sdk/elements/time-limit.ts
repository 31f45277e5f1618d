/** Time limits for work that no caller waits for. */

/**
 * Runs work under a signal that aborts after `limitMs`; the timer goes with the work.
 * @param work  gets the signal and the same limit as a deadline in milliseconds since the epoch
 */
export async function withinTime<T>(limitMs: number, work: (signal: AbortSignal, deadlineMs: number) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException(`not done within ${limitMs} ms`, "TimeoutError")), limitMs);
  try {
    return await work(controller.signal, Date.now() + limitMs);
  } finally {
    clearTimeout(timer);
  }
}
