/** A registry as a process of its own on loopback TCP, for the benches that measure it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { cpuMs, residentMiB } from "./process-cost.js";

export interface RegistryProcess {
  readonly pid: number;
  readonly url: string;
  /** From its start until it answered, in milliseconds. */
  readonly startMs: number;
  /** Resident memory after a forced collection, in MiB. */
  collected(): Promise<number>;
  stop(): Promise<void>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
}

export interface RegistryOptions {
  readonly store: "memory" | "lmdb";
  /** Holds the store; a registry that was killed finds its entries there again. */
  readonly folder: string;
  /** Default: a free port. */
  readonly listenOn?: string | undefined;
  /** Life of an entry without a refresh. Default "1h": nothing expires while it is measured. */
  readonly expirePeriod?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
}

const weft = fileURLToPath(new URL("../scripts/weft.mjs", import.meta.url));
const collect = fileURLToPath(new URL("collect-on-signal.mjs", import.meta.url));
/** Time for a collection; that of a large heap takes several. */
const collectionMs = 2_000;
const mostCollections = 20;
/** CPU time of a process with nothing to do, in that time. */
const idleMs = 100;

export async function startRegistry(options: RegistryOptions): Promise<RegistryProcess> {
  const { store, folder, listenOn = "tcp://127.0.0.1:0", expirePeriod = "1h", env = {} } = options;
  const startedMs = performance.now();
  const node = ["--expose-gc", "--import", collect, weft, "registry", "--insecure"];
  const flags = ["--store", store, "--listen-on", listenOn, "--state-dir", folder, "--expire-period", expirePeriod];
  const child = spawn(process.execPath, [...node, ...flags], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = once(child, "exit");
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
  };
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    lines.push(line);
    const url = /"urls":\["([^"]+)"/.exec(line)?.[1];
    if (url === undefined || child.pid === undefined) continue;
    child.stderr.resume();
    const { pid } = child;
    return {
      pid,
      url,
      startMs: performance.now() - startedMs,
      async collected() {
        for (let round = 0; round < 2; round++) {
          process.kill(pid, "SIGHUP");
          await isQuiet(pid);
        }
        return residentMiB(pid);
      },
      stop: () => end("SIGTERM"),
      kill: () => end("SIGKILL"),
    };
  }
  throw new Error(`the registry did not start:\n${lines.join("\n")}`);
}

/** Waits until a process has done its work. */
async function isQuiet(pid: number): Promise<void> {
  for (let i = 0; i < mostCollections; i++) {
    const usedMs = cpuMs(pid);
    await new Promise((resolve) => setTimeout(resolve, collectionMs));
    if (cpuMs(pid) - usedMs <= idleMs) return;
  }
}

/** A folder for the time of some work. */
export async function withFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "weft-bench-registry-"));
  try {
    return await run(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
