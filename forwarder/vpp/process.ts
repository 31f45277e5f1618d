/** A VPP process of our own: started in the forwarder's network namespace, outliving the forwarder, ended by its id. */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import { spawnInNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import { connectVpp, type VppApi } from "./client.js";
import type { Definitions } from "./codec.js";
import { startConf, type VppPlaces, type VppSizes } from "./start-conf.js";

export interface StartOptions {
  /** Program and first arguments; "-c start.conf" follows. */
  readonly command: readonly string[];
  readonly places: VppPlaces;
  readonly sizes: VppSizes;
  readonly home: Pick<NetnsHandle, "fd" | "ino">;
  readonly env: Readonly<Record<string, string>>;
  readonly definitions: Definitions | undefined;
  readonly startTimeoutMs: number;
  readonly callTimeoutMs: number;
}

/** VPP makes its sockets within 120 ms on a quiet machine. */
const retryMs = 5;

/** @throws FAILED_PRECONDITION it does not start, with its last words */
export async function startVpp(options: StartOptions): Promise<VppApi> {
  const { command, places, sizes, home, env, startTimeoutMs } = options;
  const [program = "vpp", ...first] = command;
  mkdirSync(places.folder, { recursive: true, mode: 0o700 });
  removeFiles(places);
  writeFileSync(places.confPath, startConf(places, sizes), { mode: 0o600 });
  const log = openSync(places.logPath, "w", 0o600);
  const ending: { text?: string } = {};
  const child = spawnInNetns(home, program, [...first, "-c", places.confPath], {
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...env },
  });
  closeSync(log);
  child.once("error", (error) => {
    ending.text = error.message;
  });
  child.once("exit", (code, signal) => {
    ending.text = signal === null ? `it ended with code ${code}` : `it ended by ${signal}`;
  });
  child.unref();
  const deadlineMs = performance.now() + startTimeoutMs;
  for (;;) {
    if (existsSync(places.apiSocket)) {
      const api = await connectSoon(options);
      if (api !== undefined) return api;
    }
    if (ending.text !== undefined || performance.now() > deadlineMs) break;
    await pause(retryMs);
  }
  if (ending.text === undefined) child.kill("SIGKILL");
  const why = ending.text ?? `no socket ${places.apiSocket} within ${startTimeoutMs} ms`;
  throw statusError(Code.FAILED_PRECONDITION, `VPP (${program}) does not start: ${why}; it said: ${lastWords(places)}`);
}

/** Undefined: the socket is there and nobody listens yet. */
async function connectSoon({ places, definitions, callTimeoutMs }: StartOptions): Promise<VppApi | undefined> {
  try {
    return await connectVpp({ socketPath: places.apiSocket, definitions, timeoutMs: callTimeoutMs });
  } catch (error) {
    if (error instanceof Error && (error as { code?: unknown }).code === Code.UNAVAILABLE) return undefined;
    throw error;
  }
}

/** The end of its log, for the reason of a death. */
export function lastWords({ logPath }: Pick<VppPlaces, "logPath">): string {
  try {
    const lines = readFileSync(logPath, "utf8").trim().split("\n");
    const telling = lines.filter((line) => /out of memory|heap|assert|error|fail|unknown|SIG|abort/i.test(line));
    return (telling.length > 0 ? telling : lines).slice(-4).join(" | ").slice(-600) || "nothing";
  } catch {
    return "nothing";
  }
}

/** "R (running)", "T (stopped)", …; undefined: there is no such process (any more). */
export function processState(pid: number): string | undefined {
  try {
    const state = /^State:\s*(.+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return state?.startsWith("Z") ? undefined : state;
  } catch {
    return undefined;
  }
}

/** Waits until a process is gone, at most so long. */
export async function ended(pid: number, timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs;
  while (processState(pid) !== undefined) {
    if (performance.now() > deadlineMs) return false;
    await pause(retryMs);
  }
  return true;
}

/** Asks it to end, and ends it when it does not. What it leaves in /dev/shm and its folder is taken away. */
export async function endVpp(pid: number, places: VppPlaces, graceMs = 2_000): Promise<void> {
  signal(pid, "SIGTERM");
  if (!(await ended(pid, graceMs))) {
    signal(pid, "SIGKILL");
    await ended(pid, graceMs);
  }
  removeFiles(places);
}

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended by itself.
  }
}

/** What a VPP that was killed leaves behind. */
export function removeFiles({ folder, shmPrefix, apiSocket, cliSocket, statsSocket }: VppPlaces): void {
  for (const path of [apiSocket, cliSocket, statsSocket]) rmSync(path, { force: true });
  if (existsSync(folder))
    for (const name of readdirSync(folder)) if (name.endsWith(".pid")) rmSync(join(folder, name), { force: true });
  const shm = "/dev/shm";
  if (!existsSync(shm)) return;
  for (const name of readdirSync(shm)) if (name.startsWith(`${shmPrefix}-`)) rmSync(join(shm, name), { force: true });
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
