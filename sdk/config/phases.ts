/** Start in numbered phases, stop in reverse: each a line in the log with its duration, each stop bounded in time. */
import { describeError, type Log } from "../telemetry/log.js";

export interface Phases {
  /**
   * Runs one phase; when it fails, everything started before is stopped and the error goes on.
   * @param stop  undoes the phase; called once, in reverse order of the phases
   */
  run<T>(name: string, start: () => Promise<T> | T, stop?: (started: T) => Promise<void> | void): Promise<T>;
  /** Stops all phases; a second call waits for the first. Never rejects. */
  stop(): Promise<void>;
}

/** @param stopTimeoutMs  after which a phase that does not stop is left behind, with a line that names it */
export function createPhases(log: Log, stopTimeoutMs: number): Phases {
  const started: { name: string; stop: () => Promise<void> | void }[] = [];
  let stopping: Promise<void> | undefined;
  const stopAll = async (): Promise<void> => {
    for (const { name, stop } of started.splice(0).reverse()) {
      const startedMs = performance.now();
      const outcome = await bounded(stop, stopTimeoutMs);
      const fields = { durationMs: Math.round(performance.now() - startedMs) };
      if (outcome === undefined) log.debug(`stopped: ${name}`, fields);
      else log.warn(`not stopped cleanly: ${name}`, { ...fields, error: outcome });
    }
  };
  return {
    async run(name, start, stop) {
      const startedMs = performance.now();
      try {
        const result = await start();
        started.push({ name, stop: () => stop?.(result) });
        log.debug(`phase ${started.length}: ${name}`, { durationMs: Math.round(performance.now() - startedMs) });
        return result;
      } catch (error) {
        log.error(`phase ${started.length + 1} failed: ${name}`, { error: describeError(error) });
        stopping ??= stopAll();
        await stopping;
        throw error;
      }
    },
    stop() {
      stopping ??= stopAll();
      return stopping;
    },
  };
}

/** The error of the work, or undefined; never waits longer than the limit. */
async function bounded(work: () => Promise<void> | void, limitMs: number): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<unknown>((resolve) => {
    timer = setTimeout(() => resolve(new Error(`not done within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([late, Promise.resolve().then(work)]);
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}
