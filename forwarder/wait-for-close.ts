/**
 * How long a Close waits for the next hop to have heard of it, once everything here is gone: as long as one that lives may take, and not
 * again and again for one that is silent. The connections of a dead node are closed one after another, and each is to go elsewhere.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../sdk/clock.js";
import { Code, toStatusError } from "../sdk/status.js";

export interface CloseWait {
  /** Resolves when `told` does, or when it need not be waited for any longer; never rejects for lateness. */
  until(url: string, told: Promise<unknown>): Promise<void>;
  /** Runs a Request at that next hop, and remembers when it was left without an answer: the Close that follows need not find out again. */
  asking<T>(url: string, request: () => Promise<T>): Promise<T>;
}

const waitMs = 150;
/** One that let somebody wait in vain is not waited for during this time, in milliseconds. */
const silentForMs = 2_000;
const maxUrls = 1_000;
const noAnswer: ReadonlySet<Code> = new Set([Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNAVAILABLE]);

export function createCloseWait(clock: Pick<Clock, "nowMs">): CloseWait {
  const silentUntilMs = new Map<string, number>();
  const isSilent = (url: string): void => {
    if (silentUntilMs.size >= maxUrls) silentUntilMs.clear();
    silentUntilMs.set(url, clock.nowMs() + silentForMs);
  };
  return {
    async until(url, told) {
      if ((silentUntilMs.get(url) ?? 0) > clock.nowMs()) return;
      const late = delay(waitMs, "late", { ref: false });
      if ((await Promise.race([told, late])) === "late") isSilent(url);
    },
    async asking(url, request) {
      const begunMs = clock.nowMs();
      try {
        return await request();
      } catch (error) {
        if (clock.nowMs() - begunMs >= waitMs && noAnswer.has(toStatusError(error).code)) isSilent(url);
        throw error;
      }
    },
  };
}
