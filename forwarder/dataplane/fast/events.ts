/** Breaks of what the packet core joins: a memif peer that was there and stays away. Joined with the events of the kernel's part. */
import type { Board } from "../../native/board.js";
import type { DataPlaneEvent } from "../dataplane.js";
import type { Held } from "./fast.js";
import { ownerOf } from "./shape.js";

/** A workload that is restarted is back sooner; one that is gone for longer must be healed. */
const patienceMs = 1_000;

export interface FastEvents {
  /** A link may have changed. */
  look(): void;
  track(id: string): void;
  forget(id: string): void;
  /** The events of both, each with the id of the whole. */
  merge(kernel: AsyncIterable<DataPlaneEvent>, signal: AbortSignal): AsyncIterable<DataPlaneEvent>;
  close(): void;
}

export function createFastEvents(needs: {
  readonly held: () => ReadonlyMap<string, Held>;
  readonly board: () => Board | undefined;
}): FastEvents {
  const wasUp = new Set<string>();
  const timers = new Map<string, NodeJS.Timeout>();
  const listeners = new Set<(event: DataPlaneEvent) => void>();
  const disarm = (id: string): void => {
    clearTimeout(timers.get(id));
    timers.delete(id);
  };
  const isUp = ({ joint }: Held, board: Board): boolean => [...joint.ports.values()].every((slot) => board.link(slot) === "up");
  const report = (id: string): void => {
    timers.delete(id);
    const [current, board] = [needs.held().get(id), needs.board()];
    if (current === undefined || board === undefined || isUp(current, board)) return;
    wasUp.delete(id);
    for (const tell of listeners) tell({ kind: "broken", id, reason: "a memif peer has left and does not come back" });
  };
  return {
    look() {
      const board = needs.board();
      if (board === undefined) return;
      for (const [id, current] of needs.held()) {
        if (isUp(current, board)) {
          wasUp.add(id);
          disarm(id);
        } else if (wasUp.has(id) && !timers.has(id)) {
          timers.set(id, setTimeout(report, patienceMs, id));
        }
      }
    },
    track(id) {
      const [current, board] = [needs.held().get(id), needs.board()];
      if (current !== undefined && board !== undefined && isUp(current, board)) wasUp.add(id);
    },
    forget(id) {
      wasUp.delete(id);
      disarm(id);
    },
    async *merge(kernel, signal) {
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
        for await (const event of kernel) push({ ...event, id: ownerOf(event.id) });
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
    close() {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    },
  };
}
