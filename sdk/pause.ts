/** Waiting by the machine's clock for work that runs on its own; by a clock that is given: registry/pause.ts. */

/** Resolves after `durationMs`, or as soon as the signal aborts. Never rejects, and leaves no timer behind. */
export function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, durationMs);
    signal.addEventListener("abort", end, { once: true });
  });
}
