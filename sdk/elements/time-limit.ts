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

/** The part of a call's context that says how long it may take. */
export interface TimeLeft {
  readonly signal: AbortSignal;
  readonly deadlineMs: number | undefined;
}

/**
 * Runs one of several tries with its equal share of the time a call has left; without a deadline, or for the last try, with
 * all of it. A try that outlives its share is aborted as a timeout, while the call goes on.
 * @param tries  how many tries are left, this one included
 */
export async function withShareOfTime<T>(call: TimeLeft, tries: number, work: (share: TimeLeft) => Promise<T>): Promise<T> {
  const { signal, deadlineMs } = call;
  if (deadlineMs === undefined || tries <= 1) return work({ signal, deadlineMs });
  const shareMs = Math.max(1, (deadlineMs - Date.now()) / tries);
  const controller = new AbortController();
  const cut = (): void => controller.abort(signal.reason);
  const late = (): void => controller.abort(new DOMException(`no answer within ${Math.round(shareMs)} ms`, "TimeoutError"));
  if (signal.aborted) cut();
  signal.addEventListener("abort", cut);
  const timer = setTimeout(late, shareMs);
  try {
    return await work({ signal: controller.signal, deadlineMs: Date.now() + shareMs });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", cut);
  }
}
