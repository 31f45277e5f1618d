/**
 * Stands between an endpoint and its address management, in the place of sdk/endpoint/ipam/point-to-point.ts, and sees who holds
 * what. It changes nothing.
 */
import type { Ipam } from "../../sdk/endpoint/ipam/ipam.js";
import { pointToPoint as shipped } from "../../sdk/endpoint/ipam/point-to-point.js";
import { currentWorld } from "./globals.js";
import type { SimProcess } from "./world.js";

const ofProcess = new WeakMap<SimProcess, Ipam>();
let listener: ((process: SimProcess, connectionId: string) => void) | undefined;

/** The addresses that this process gives out; undefined: it is no endpoint, or not up yet. */
export function ipamOf(process: SimProcess | undefined): Ipam | undefined {
  return process && ofProcess.get(process);
}

/** Told of each connection whose addresses are given back, from now on. */
export function onRelease(told: typeof listener): void {
  listener = told;
}

export function pointToPoint(...options: Parameters<typeof shipped>): Ipam {
  const ipam = shipped(...options);
  const process = currentWorld().current;
  if (process === undefined) return ipam;
  ofProcess.set(process, ipam);
  return {
    ...ipam,
    release(connectionId) {
      const held = [...ipam.leases()].some(([id]) => id === connectionId);
      ipam.release(connectionId);
      if (held) listener?.(process, connectionId);
    },
  };
}
