/** The cgroups of the nodes: all below one name, so that nothing stays of a run, nor of one that was killed. */
import { existsSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const hierarchies = "/sys/fs/cgroup";
const prefix = "wt-k8s-";

/** Unique on this machine as long as this process lives. */
export function cgroupName(): string {
  const start = readFileSync("/proc/self/stat", "utf8").split(" ").slice(21, 22).join("");
  return `${prefix}${process.pid}-${start}`;
}

/** Removes the groups of this run. */
export async function removeCgroups(name: string): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    if (!remove(name)) return;
    await sleep(100);
  }
  throw new Error(`cgroups ${name} are still in use`);
}

/** Removes the groups that killed runs have left: those without a process in them. */
export function removeOldCgroups(): void {
  for (const hierarchy of readdirSync(hierarchies)) {
    const folder = join(hierarchies, hierarchy);
    for (const name of foldersIn(folder).filter((one) => one.startsWith(prefix))) {
      if (!hasProcesses(join(folder, name))) removeTree(join(folder, name));
    }
  }
}

function hasProcesses(path: string): boolean {
  if (!existsSync(join(path, "cgroup.procs"))) return false;
  if (readFileSync(join(path, "cgroup.procs"), "utf8").trim() !== "") return true;
  return foldersIn(path).some((name) => hasProcesses(join(path, name)));
}

/** @returns whether something is left */
function remove(name: string): boolean {
  let left = false;
  for (const hierarchy of readdirSync(hierarchies)) {
    const path = join(hierarchies, hierarchy, name);
    if (existsSync(path)) left = !removeTree(path) || left;
  }
  return left;
}

function removeTree(path: string): boolean {
  for (const name of foldersIn(path)) removeTree(join(path, name));
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}

function foldersIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}
