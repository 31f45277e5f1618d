/** Breaks of what VPP joins: an interface that somebody has deleted, a memif peer that was there and stays away. */
import type { EventBus } from "../event-bus.js";
import type { Held } from "./vpp.js";

/** A workload that is restarted is back sooner; one that is gone for longer must be healed. */
const patienceMs = 1_000;

export interface Links {
  changed(swIfIndex: number, what: "up" | "down" | "deleted"): void;
  forget(id: string): void;
  close(): void;
}

export function createLinks(needs: {
  readonly held: () => Iterable<Held>;
  readonly up: () => ReadonlySet<number>;
  readonly bus: Pick<EventBus, "tell">;
}): Links {
  const wasUp = new Set<string>();
  const timers = new Map<string, NodeJS.Timeout>();
  const disarm = (id: string): void => {
    clearTimeout(timers.get(id));
    timers.delete(id);
  };
  const find = (swIfIndex: number): Held | undefined =>
    [...needs.held()].find(({ joint }) => Object.values(joint.interfaces).some((each) => each.swIfIndex === swIfIndex));
  const isDown = ({ joint }: Held): boolean =>
    Object.values(joint.interfaces).some((each) => each.kind === "memif" && !needs.up().has(each.swIfIndex));
  const report = (id: string): void => {
    timers.delete(id);
    const current = [...needs.held()].find(({ crossConnect }) => crossConnect.id === id);
    if (current === undefined || !isDown(current)) return;
    wasUp.delete(id);
    needs.bus.tell({ kind: "broken", id, reason: "a memif peer has left and does not come back" });
  };
  return {
    changed(swIfIndex, what) {
      const current = find(swIfIndex);
      if (current === undefined) return;
      const { id } = current.crossConnect;
      if (what === "deleted") needs.bus.tell({ kind: "broken", id, reason: `interface ${swIfIndex} of VPP has been deleted` });
      else if (!isDown(current)) {
        wasUp.add(id);
        disarm(id);
      } else if (wasUp.has(id) && !timers.has(id)) timers.set(id, setTimeout(report, patienceMs, id));
    },
    forget(id) {
      wasUp.delete(id);
      disarm(id);
    },
    close() {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    },
  };
}
