/** weft down: takes the local mesh down in order; what a crashed one left is removed as well. */
import { setTimeout as pause } from "node:timers/promises";
import type { CliContext } from "../context.js";
import { removeRemains } from "../mesh/clean.js";
import { askToStop } from "../mesh/control.js";
import { processStartTime, runningMesh } from "../mesh/state.js";

/** The supervisor stops pods, components and registry one after the other, each with some seconds of grace. */
const orderlyStopMs = 60_000;
const graceMs = 3000;

export async function down(context: CliContext): Promise<number> {
  const removed = await takeDown(context.signal);
  context.out.write(removed === undefined ? "no local mesh: nothing to remove\n" : `${removed}\n`);
  return 0;
}

/** @returns what was removed, in words; undefined = there was nothing */
export async function takeDown(signal: AbortSignal): Promise<string | undefined> {
  const mesh = runningMesh();
  let orderly = false;
  if (mesh !== undefined) {
    try {
      await askToStop(AbortSignal.any([signal, AbortSignal.timeout(orderlyStopMs)]));
      await ended(mesh.pid, mesh.pidStartTime);
      orderly = true;
    } catch {
      signal.throwIfAborted();
      process.kill(mesh.pid, "SIGKILL");
      await ended(mesh.pid, mesh.pidStartTime);
    }
  }
  const { namespaces, processes } = await removeRemains(graceMs);
  if (mesh !== undefined && orderly) return `mesh of ${mesh.nodes.length} nodes taken down, nothing is left`;
  if (mesh === undefined && namespaces.length + processes === 0) return undefined;
  return `removed what was left of a mesh: ${namespaces.length} namespaces, ${processes} processes`;
}

async function ended(pid: number, startTime: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (processStartTime(pid) === startTime && performance.now() < deadline) await pause(20);
}
