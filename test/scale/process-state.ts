/** What processes hold: memory that is left after a collection, and descriptors. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import type { Mesh } from "../journey/mesh.js";

/** For the environment of a component whose memory is looked at. */
export const collectable = { NODE_OPTIONS: `--import=${new URL("./collect-on-signal.mjs", import.meta.url).href}` };

/** Resident memory in MiB. */
export function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
}

export function descriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

const lookEveryMs = 500;
const looks = 60;

/** Collects until the memory of a process does not shrink any more; what is left in MiB. */
export async function collected(pid: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let same = 0; same < 3; ) {
    process.kill(pid, "SIGHUP");
    await pause(lookEveryMs);
    const now = residentMiB(pid);
    same = now < least - 1 ? 0 : same + 1;
    least = Math.min(least, now);
  }
  return least;
}

export interface State {
  readonly memoryMiB: number;
  readonly descriptors: number;
}

/** Waits, collecting, until a process is back within a bound of what it held. */
export async function isBack(name: string, pid: number, before: State): Promise<void> {
  const most = { memoryMiB: before.memoryMiB + 30, descriptors: before.descriptors + 3 };
  let now = { memoryMiB: Number.POSITIVE_INFINITY, descriptors: Number.POSITIVE_INFINITY };
  for (let look = 0; look < looks; look++) {
    process.kill(pid, "SIGHUP");
    await pause(lookEveryMs);
    now = { memoryMiB: residentMiB(pid), descriptors: descriptors(pid) };
    if (now.memoryMiB <= most.memoryMiB && now.descriptors <= most.descriptors) return;
  }
  assert.fail(`${name} holds ${JSON.stringify(now)}, before ${JSON.stringify(before)}`);
}

export async function stateOf(pid: number): Promise<State> {
  return { memoryMiB: await collected(pid), descriptors: descriptors(pid) };
}

/** The processes of a mesh of one node, by what they are. */
export function partsOf(mesh: Mesh): Map<string, number> {
  const node = mesh.node("n1");
  const [forwarder] = node.forwarders.values();
  const parts = { registry: mesh.registry.pid, nsmgr: node.nsmgr.pid, forwarder: forwarder?.pid };
  return new Map(Object.entries(parts).map(([name, pid]) => [name, pid ?? assert.fail(`${name} does not run`)]));
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
