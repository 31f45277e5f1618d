/** Asks again until it works, with pauses that grow, and not before who refused it wants to be asked again. */
import type { Clock } from "../clock.js";
import { Code, codeName, type StatusError, statusError, toStatusError } from "../status.js";
import { retryAfterMs } from "../transport/retry-hint.js";
import { type Backoff, backoffMs } from "./backoff.js";

export interface RetryOptions {
  readonly clock: Clock;
  readonly backoff: Backoff;
  readonly signal: AbortSignal;
  /** When to stop, in epoch milliseconds; undefined = never. */
  readonly deadlineMs: number | undefined;
  readonly onRefused: (error: StatusError, pauseMs: number) => void;
}

/** Answers that the same Request will get again however often it is sent. */
const finalCodes: readonly Code[] = [Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED];

/**
 * @throws the last refusal when it is final; DEADLINE_EXCEEDED with the last refusal in its text; the reason of `signal`
 */
export async function retry<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    options.signal.throwIfAborted();
    try {
      return await attempt();
    } catch (thrown) {
      options.signal.throwIfAborted();
      const error = toStatusError(thrown);
      if (finalCodes.includes(error.code)) throw error;
      const pauseMs = Math.max(backoffMs(options.backoff, failures, Math.random()), retryAfterMs(error) ?? 0);
      const { deadlineMs } = options;
      if (deadlineMs !== undefined && options.clock.nowMs() + pauseMs >= deadlineMs) {
        const last = `${codeName(error.code)}: ${error.details}`;
        throw statusError(
          Code.DEADLINE_EXCEEDED,
          `not connected in time after ${failures} tries; the last answer: ${last}`,
          error,
        );
      }
      options.onRefused(error, pauseMs);
      await sleepUntil(options.clock, options.clock.nowMs() + pauseMs, options.signal);
    }
  }
}

function sleepUntil(clock: Clock, timeMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      disarm();
      reject(signal.reason);
    };
    const disarm = clock.at(timeMs, () => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
    signal.addEventListener("abort", stop, { once: true });
  });
}
