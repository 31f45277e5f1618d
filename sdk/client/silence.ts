/**
 * What one connection learned of an endpoint, for the others to the same one: when a node goes down, hundreds ask at the same moment
 * for what they had. Each would wait in vain for the answer, and those behind them in the gate twice as long; and what they ask keeps
 * the mesh busy when it has to build. So one asks, and those that come while it waits do as it turns out.
 */
import type { Clock } from "../clock.js";
import { Code, type StatusError, statusError, toStatusError } from "../status.js";

export interface Silence {
  /**
   * Runs a try to get a dead connection back from this endpoint, and remembers for a moment when nobody answered. While another
   * one runs for the same endpoint it waits: it runs after a success, or a refusal that is about the other connection alone.
   * @throws UNAVAILABLE at once, when it was silent a moment ago or cannot be reached; else as the try
   */
  run<T>(endpoint: string, attempt: () => Promise<T>): Promise<T>;
}

/** Long enough for all that wait for their turn, short enough that one that comes back is asked soon. */
const memoryMs = 2_000;
const maxNames = 1_000;

export function createSilence(clock: Pick<Clock, "nowMs">): Silence {
  const silentUntilMs = new Map<string, number>();
  /** The first tries, and what they ended with if it is true for the other connections as well. */
  const firstTries = new Map<string, Promise<StatusError | undefined>>();

  async function asking<T>(endpoint: string, attempt: () => Promise<T>): Promise<T> {
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
  }

  async function first<T>(endpoint: string, attempt: () => Promise<T>): Promise<T> {
    const tried = asking(endpoint, attempt);
    const outcome = tried.then(() => undefined, aboutEndpoint);
    firstTries.set(endpoint, outcome);
    try {
      return await tried;
    } finally {
      firstTries.delete(endpoint);
    }
  }

  return {
    async run(endpoint, attempt) {
      if ((silentUntilMs.get(endpoint) ?? 0) > clock.nowMs()) {
        throw statusError(Code.UNAVAILABLE, `${endpoint} has just left another connection of this process without an answer`);
      }
      const other = firstTries.get(endpoint);
      if (other === undefined) return first(endpoint, attempt);
      const failed = await other;
      if (failed === undefined) return asking(endpoint, attempt);
      const text = `${endpoint} did not take another connection of this process back just now: ${failed.details}`;
      throw statusError(Code.UNAVAILABLE, text, failed);
    },
  };
}

/** The error, if others would get it too: both have lost their packets, and nobody is there to take the one back. */
function aboutEndpoint(thrown: unknown): StatusError | undefined {
  const error = toStatusError(thrown);
  return error.code === Code.DEADLINE_EXCEEDED || error.code === Code.UNAVAILABLE ? error : undefined;
}
