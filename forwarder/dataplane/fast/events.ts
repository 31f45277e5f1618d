/** Breaks of what the packet core joins: a memif peer that was there and stays away. Joined with the events of the kernel's part. */
import type { Board } from "../../native/board.js";
import type { DataPlaneEvent } from "../dataplane.js";
import { createEventBus } from "../event-bus.js";
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
  const bus = createEventBus();
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
    bus.tell({ kind: "broken", id, reason: "a memif peer has left and does not come back" });
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
    merge: (kernel, signal) => bus.merge(kernel, ownerOf, signal),
    close() {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    },
  };
}
