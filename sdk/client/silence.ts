/**
 * What one connection learned of an endpoint, for the others to the same one: when a node goes down, hundreds ask at the same moment
 * for what they had, each would wait in vain for the answer, and those behind them in the gate twice as long.
 */
import type { Clock } from "../clock.js";
import { Code, statusError, toStatusError } from "../status.js";

export interface Silence {
  /**
   * Runs a try to get a dead connection back from this endpoint, and remembers for a moment when nobody answered.
   * @throws UNAVAILABLE at once, when it was silent a moment ago; else as the try
   */
  run<T>(endpoint: string, attempt: () => Promise<T>): Promise<T>;
}

/** Long enough for all that wait for their turn, short enough that one that comes back is asked soon. */
const memoryMs = 2_000;
const maxNames = 1_000;

export function createSilence(clock: Pick<Clock, "nowMs">): Silence {
  const silentUntilMs = new Map<string, number>();
  return {
    async run(endpoint, attempt) {
      if ((silentUntilMs.get(endpoint) ?? 0) > clock.nowMs()) {
        throw statusError(Code.UNAVAILABLE, `${endpoint} has just left another connection of this process without an answer`);
      }
      try {
        const answer = await attempt();
        silentUntilMs.delete(endpoint);
        return answer;
      } catch (error) {
        if (toStatusError(error).code === Code.DEADLINE_EXCEEDED) {
          if (silentUntilMs.size >= maxNames) silentUntilMs.clear();
          silentUntilMs.set(endpoint, clock.nowMs() + memoryMs);
        }
        throw error;
      }
    },
  };
}
