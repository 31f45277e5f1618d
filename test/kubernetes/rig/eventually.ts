/** Waiting for a cluster to come to something; it is asked five times a second unless told otherwise. */
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Resolves with the first result that is neither undefined nor false; an error counts as not yet.
 * @throws what was waited for, after the time, with the last error
 */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 60_000,
  everyMs = 200,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > endMs) {
      throw new Error(`waited ${timeoutMs} ms for ${what}${last === undefined ? "" : `: ${String(last)}`}`, { cause: last });
    }
    await sleep(everyMs);
  }
}
