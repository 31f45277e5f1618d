/**
 * Processes of a mesh: started in a namespace, logged to a file, restarted when they fail, ended by id and never by name.
 * Each carries WEFT_MESH in its environment, so that a later run finds what a crashed one left behind.
 */
import type { ChildProcess } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { openNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { logFileOf, runFolder } from "./plan.js";

export interface ProcessSpec {
  /** Unique in the mesh; names the log file. */
  readonly name: string;
  readonly netns: string;
  /** Node of the mesh it belongs to; empty for the registry. */
  readonly node: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Where it runs; default: the supervisor's own folder. */
  readonly folder?: string;
  readonly env: Readonly<Record<string, string>>;
  /** Started again, with growing pauses, whenever it ends by itself. */
  readonly restart: boolean;
}

export interface MeshProcess {
  readonly spec: ProcessSpec;
  /** Undefined while it is down. */
  readonly pid: number | undefined;
  readonly restarts: number;
  /** Resolves when it has ended and is not started again: exit code or signal in words. */
  readonly ended: Promise<string>;
  /** SIGTERM, and SIGKILL after the grace period. */
  stop(graceMs: number): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** SIGKILL, and nobody starts it again before `resume`: its machine is down. Resolves when it has ended. */
  hold(): Promise<void>;
  /** Its machine is up again. */
  resume(): void;
}

/** What marks a process as part of the mesh: /run/weft of this mount namespace. Another one has its own /run. */
export const meshMark = `${runFolder} ${readlinkSync("/proc/self/ns/mnt")}`;

const firstPauseMs = 250;
const longestPauseMs = 10_000;
/** Who has run for so long did not fail at its start: the pauses begin anew. */
const steadyMs = 5_000;

/**
 * @param base  the environment for every process of the mesh
 * @param onChange  told of each start and end
 */
export function startProcess(
  spec: ProcessSpec,
  base: Readonly<Record<string, string | undefined>>,
  onChange: (event: string) => void,
): MeshProcess {
  let child: ChildProcess | undefined;
  let restarts = 0;
  let failures = 0;
  let stopping = false;
  let held = false;
  let timer: NodeJS.Timeout | undefined;
  let finish: (how: string) => void = () => {};
  const ended = new Promise<string>((resolve) => {
    finish = resolve;
  });
  const launch = (): void => {
    child = spawnLogged(spec, base);
    const startedAtMs = performance.now();
    onChange(`${spec.name} started (pid ${child.pid})`);
    child.once("error", (error) => onChange(`${spec.name} cannot be started: ${error.message}`));
    child.once("close", (code, signal) => {
      child = undefined;
      const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
      onChange(`${spec.name} ended with ${how}`);
      if (stopping || !spec.restart) {
        finish(how);
        return;
      }
      restarts++;
      if (held) return;
      failures = performance.now() - startedAtMs < steadyMs ? failures + 1 : 1;
      timer = setTimeout(launch, Math.min(firstPauseMs * 2 ** Math.min(failures - 1, 10), longestPauseMs));
    });
  };
  launch();
  return {
    spec,
    get pid() {
      return child?.pid;
    },
    get restarts() {
      return restarts;
    },
    ended,
    async stop(graceMs) {
      stopping = true;
      clearTimeout(timer);
      if (child === undefined) finish("stopped");
      else {
        const victim = child;
        victim.kill("SIGTERM");
        const force = setTimeout(() => victim.kill("SIGKILL"), graceMs);
        await ended;
        clearTimeout(force);
      }
    },
    kill: (signal) => void child?.kill(signal),
    async hold() {
      held = true;
      clearTimeout(timer);
      const victim = child;
      if (victim === undefined) return;
      const gone = new Promise<void>((resolve) => victim.once("close", () => resolve()));
      victim.kill("SIGKILL");
      await gone;
    },
    resume() {
      if (!held) return;
      held = false;
      if (!stopping && child === undefined) launch();
    },
  };
}

function spawnLogged(spec: ProcessSpec, base: Readonly<Record<string, string | undefined>>): ChildProcess {
  const [command = "", ...args] = spec.command;
  const log = openSync(logFileOf(spec.name), "a");
  const netns = openNetns(spec.netns);
  try {
    return spawnInNetns(netns, command, args, {
      env: { ...base, ...spec.env, WEFT_MESH: meshMark },
      ...(spec.folder === undefined ? {} : { cwd: spec.folder }),
      stdio: ["ignore", log, log],
      // signals of the terminal are for the supervisor, which then stops its processes in order
      detached: true,
    });
  } finally {
    netns.close();
    closeSync(log);
  }
}

/** Processes that belong to a mesh of this machine, found by their environment; without the given one. */
export function findMeshProcesses(exceptPid: number): number[] {
  const found: number[] = [];
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === exceptPid) continue;
    try {
      const variables = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      if (variables.includes(`WEFT_MESH=${meshMark}`)) found.push(pid);
    } catch {
      // gone meanwhile, or another user's
    }
  }
  return found;
}
