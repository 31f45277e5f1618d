/**
 * Bounds the Requests under way to one node manager. Those that wait go in order of urgency: a healing connection before
 * a refresh, a refresh before a new one, so that many faults at once are neither a storm nor stuck behind newcomers.
 */
export const Urgency = { HEAL: 0, REFRESH: 1, NEW: 2 } as const;
export type Urgency = (typeof Urgency)[keyof typeof Urgency];

export interface Gate {
  /** Runs `work` when there is room. @throws the reason of `signal` if it aborts while waiting */
  run<T>(urgency: Urgency, signal: AbortSignal, work: () => Promise<T>): Promise<T>;
}

export function createGate(maxUnderWay: number): Gate {
  const waiting: (() => void)[][] = [[], [], []];
  let underWay = 0;

  async function enter(urgency: Urgency, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (underWay < maxUnderWay) {
      underWay += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const queue = waiting[urgency] as (() => void)[];
      const start = (): void => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = (): void => {
        queue.splice(queue.indexOf(start), 1);
        reject(signal.reason);
      };
      queue.push(start);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** Hands the place on, or frees it. */
  function exit(): void {
    const next = waiting.find((queue) => queue.length > 0)?.shift();
    if (next === undefined) underWay -= 1;
    else next();
  }

  return {
    async run(urgency, signal, work) {
      await enter(urgency, signal);
      try {
        return await work();
      } finally {
        exit();
      }
    },
  };
}
