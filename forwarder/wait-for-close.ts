/**
 * How long a Close waits for the next hop to have heard of it, once everything here is gone: as long as one that lives may take, and not
 * again and again for one that is silent. The connections of a dead node are closed one after another, and each is to go elsewhere.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../sdk/clock.js";

/** Resolves when `told` does, or when it need not be waited for any longer; never rejects for lateness. */
export type CloseWait = (url: string, told: Promise<unknown>) => Promise<void>;

const waitMs = 150;
/** One that let somebody wait in vain is not waited for during this time, in milliseconds. */
const silentForMs = 2_000;
const maxUrls = 1_000;

export function createCloseWait(clock: Pick<Clock, "nowMs">): CloseWait {
  const silentUntilMs = new Map<string, number>();
  return async (url, told) => {
    if ((silentUntilMs.get(url) ?? 0) > clock.nowMs()) return;
    const late = delay(waitMs, "late", { ref: false });
    if ((await Promise.race([told, late])) !== "late") return;
    if (silentUntilMs.size >= maxUrls) silentUntilMs.clear();
    silentUntilMs.set(url, clock.nowMs() + silentForMs);
  };
}
