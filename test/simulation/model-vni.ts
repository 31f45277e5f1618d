/**
 * In the place of forwarder/vni.ts: the same with so few numbers that two connections come to want one. It also sees who holds one.
 */
import { createVniPool as shipped } from "../../forwarder/vni.js";
import { currentWorld } from "./globals.js";
import type { SimProcess } from "./world.js";

export type { VniPool } from "../../forwarder/vni.js";
export { vniIsEven } from "../../forwarder/vni.js";

const last = 31;
const holders = new WeakMap<SimProcess, () => readonly string[]>();

/** The connections that hold a number at this forwarder. */
export function holdersOfNumbers(process: SimProcess | undefined): readonly string[] {
  return (process && holders.get(process)?.()) ?? [];
}

export function createVniPool(random: () => number): ReturnType<typeof shipped> {
  const pool = shipped(random, last);
  const ports = new Map<string, number>();
  const { current } = currentWorld();
  if (current !== undefined)
    holders.set(current, () =>
      [...ports].filter(([owner, port]) => pool.held(owner, port) !== undefined).map(([owner]) => owner),
    );
  return {
    ...pool,
    allocate(request) {
      ports.set(request.owner, request.udpPort);
      return pool.allocate(request);
    },
    claim(request) {
      ports.set(request.owner, request.udpPort);
      return pool.claim(request);
    },
  };
}
