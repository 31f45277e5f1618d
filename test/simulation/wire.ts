/**
 * The cables of a world: what is sent arrives late, and where a cable is cut in its direction it waits, as TCP keeps it, until the cut
 * ends or keepalive gives the connection up.
 */
import type { SimProcess, World } from "./world.js";

export interface Wire {
  /** Nothing that is sent from one node to the other arrives; what the other one sends does. */
  cut(from: string, to: string, isCut: boolean): void;
  /** One of the two ways is cut: packets that want an answer get none, nor does a connection come about. */
  isCut(one: string, other: string): boolean;
  latencyMs(one: SimProcess, other: SimProcess): number;
  /** Added to each way, at most. */
  extraLatencyMs: number;
  /** @returns when it arrives, if nothing is cut then */
  carry(load: Load): number;
}

export interface Load {
  readonly from: SimProcess;
  readonly to: SimProcess;
  /** It may not overtake what was sent before. */
  readonly notBeforeMs?: number;
  readonly arrive: () => void;
  /** The connection has been given up with it on its way; happens to `loser`. */
  readonly lose: () => void;
  readonly loser: SimProcess;
}

/** How long a connection over a dead cable stays silent until keepalive ends it. */
export const keepaliveMs = 10_000;
/** What waited is sent again so late after the cable is whole, at most. */
const resendMs = 400;

export function createWire(world: World): Wire {
  const cuts = new Set<string>();
  const waiting = new Set<Load>();
  const way = (from: string, to: string): string => `${from} ${to}`;
  const wire: Wire = {
    extraLatencyMs: 0,
    isCut: (one, other) => cuts.has(way(one, other)) || cuts.has(way(other, one)),
    latencyMs: (one, other) => (one.node === other.node ? 0.1 : 0.5) + world.chance.next() * (1 + wire.extraLatencyMs),
    cut(from, to, isCut) {
      if (isCut) cuts.add(way(from, to));
      else if (cuts.delete(way(from, to))) sendAgain(from, to);
    },
    carry(load) {
      const atMs = Math.max(load.notBeforeMs ?? 0, world.nowMs() + wire.latencyMs(load.from, load.to));
      world.at(atMs, load.to, () => arrive(load));
      return atMs;
    },
  };

  function arrive(load: Load): void {
    if (!cuts.has(way(load.from.node, load.to.node))) {
      load.arrive();
      return;
    }
    waiting.add(load);
    world.at(world.nowMs() + keepaliveMs, load.loser, () => {
      if (waiting.delete(load)) load.lose();
    });
  }

  function sendAgain(from: string, to: string): void {
    const atMs = world.nowMs() + world.chance.next() * resendMs;
    for (const load of waiting) {
      if (load.from.node !== from || load.to.node !== to) continue;
      waiting.delete(load);
      world.at(atMs, load.to, () => arrive(load));
    }
  }
  return wire;
}
