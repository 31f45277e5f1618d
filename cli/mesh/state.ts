/** What a running mesh writes down about itself, for the other commands: /run/weft/mesh.json. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { Code, statusError } from "../../sdk/status.js";
import { runFolder, stateFile } from "./plan.js";

export interface MeshState {
  readonly version: 1;
  /** The supervisor. */
  readonly pid: number;
  /** Start time of that process in clock ticks after boot: a reused pid has another one. */
  readonly pidStartTime: string;
  readonly createdAt: string;
  readonly registry: { readonly socketUrl: string; readonly tcpUrl: string };
  readonly nodes: readonly NodeState[];
  readonly pods: readonly PodState[];
}
export interface NodeState {
  readonly name: string;
  readonly netns: string;
  readonly address4: string;
  readonly address6: string;
  readonly nsmgr: { readonly name: string; readonly socketUrl: string };
  readonly forwarder: { readonly name: string; readonly socketUrl: string };
}
export interface PodState {
  readonly name: string;
  readonly node: string;
  readonly netns: string;
  /** What runs in it, in words. */
  readonly role: string;
  readonly socketUrl: string;
  readonly pid: number | undefined;
}

/** Replaces the state file in one step: a reader never sees half of it. */
export function writeState(state: MeshState): void {
  mkdirSync(runFolder, { recursive: true, mode: 0o755 });
  const draft = `${stateFile}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(draft, stateFile);
}

/** @returns undefined when there is none, or it is not readable as one */
export function readState(): MeshState | undefined {
  try {
    const state = JSON.parse(readFileSync(stateFile, "utf8")) as MeshState;
    return state.version === 1 ? state : undefined;
  } catch {
    return undefined;
  }
}

/** The state of a mesh whose supervisor lives. */
export function runningMesh(): MeshState | undefined {
  const state = readState();
  return state !== undefined && processStartTime(state.pid) === state.pidStartTime ? state : undefined;
}

/** @throws FAILED_PRECONDITION when none runs, with the remedy */
export function requireMesh(): MeshState {
  const state = runningMesh();
  if (state !== undefined) return state;
  throw statusError(Code.FAILED_PRECONDITION, "no local mesh is running; start one with `weft up --nodes 2`");
}

/** Field 22 of /proc/PID/stat (proc_pid_stat(5)); undefined when there is no such process or only its corpse. */
export function processStartTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // the second field is the program's name in brackets and may hold blanks
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
