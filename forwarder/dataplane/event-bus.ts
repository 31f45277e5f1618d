/** Events of a data plane that has another beneath it: its own and the other's, in one stream. */
import type { DataPlaneEvent } from "./dataplane.js";

export interface EventBus {
  /** To everybody who listens. */
  tell(event: DataPlaneEvent): void;
  /** Own events and those of the data plane beneath, each with the id that `idOf` gives; ends with the signal or with the other's. */
  merge(beneath: AsyncIterable<DataPlaneEvent>, idOf: (id: string) => string, signal: AbortSignal): AsyncIterable<DataPlaneEvent>;
}

export function createEventBus(): EventBus {
  const listeners = new Set<(event: DataPlaneEvent) => void>();
  return {
    tell(event) {
      for (const each of listeners) each(event);
    },
    async *merge(beneath, idOf, signal) {
      const waiting: DataPlaneEvent[] = [];
      let wake = (): void => {};
      let failure: unknown;
      let ended = false;
      const push = (event: DataPlaneEvent): void => {
        waiting.push(event);
        wake();
      };
      listeners.add(push);
      const reading = (async () => {
        for await (const event of beneath) push({ ...event, id: idOf(event.id) });
      })()
        .catch((error: unknown) => {
          failure = error;
        })
        .finally(() => {
          ended = true;
          wake();
        });
      const aborted = (): void => wake();
      signal.addEventListener("abort", aborted);
      try {
        while (!signal.aborted) {
          const event = waiting.shift();
          if (event !== undefined) {
            yield event;
            continue;
          }
          if (ended) break;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        if (failure !== undefined) throw failure;
      } finally {
        listeners.delete(push);
        signal.removeEventListener("abort", aborted);
        if (signal.aborted) await reading;
      }
    },
  };
}
