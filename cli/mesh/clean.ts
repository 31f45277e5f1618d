/**
 * Removes whatever a mesh of this machine left: processes (known by their environment), namespaces (known by their
 * names) and the run folder. Works on any remains, also those of a run that was killed half way.
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { deleteNamedNetns } from "../../sdk/linux/netns.js";
import { netnsFolder } from "../../sdk/linux/netns-url.js";
import { netnsPrefix, runFolder } from "./plan.js";
import { findMeshProcesses } from "./processes.js";

export interface Removed {
  readonly processes: number;
  readonly namespaces: readonly string[];
}

export function meshNamespaces(): string[] {
  try {
    return readdirSync(netnsFolder).filter((name) => name.startsWith(netnsPrefix));
  } catch {
    return [];
  }
}

/**
 * @param graceMs  how long processes may take to end before they are killed
 * @param keep  a file under the run folder that stays: the log somebody is writing to
 */
export async function removeRemains(graceMs: number, keep?: string): Promise<Removed> {
  const processes = await endProcesses(graceMs);
  const namespaces = meshNamespaces();
  for (const name of namespaces) deleteNamedNetns(name);
  removeBut(runFolder, keep);
  return { processes, namespaces };
}

function removeBut(path: string, keep: string | undefined): void {
  if (path === keep || !existsSync(path)) return;
  if (keep === undefined || !keep.startsWith(`${path}/`)) {
    rmSync(path, { recursive: true, force: true });
    return;
  }
  for (const entry of readdirSync(path)) removeBut(join(path, entry), keep);
}

async function endProcesses(graceMs: number): Promise<number> {
  const found = findMeshProcesses(process.pid);
  signalAll(found, "SIGTERM");
  const deadline = performance.now() + graceMs;
  let left = found;
  while (left.length > 0 && performance.now() < deadline) {
    await pause(20);
    left = findMeshProcesses(process.pid);
  }
  signalAll(left, "SIGKILL");
  while (findMeshProcesses(process.pid).length > 0 && performance.now() < deadline + 5000) await pause(20);
  return found.length;
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // ended meanwhile
    }
  }
}
