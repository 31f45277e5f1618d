/**
 * Processes as in pods: each in a PID namespace and a mount namespace of its own, so that none sees the others' processes,
 * and network namespaces without a name, so that none finds them by a mount.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type NetnsHandle, openNewNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { inodeUrl } from "../../sdk/linux/netns-url.js";
import type { CleanUp } from "../../sdk/testing/cleanup.js";
import { until } from "../../sdk/testing/until.js";
import type { Dialer } from "../../sdk/transport/dial.js";

export type PartName = "registry" | "nsmgr" | "forwarder" | "responder" | "client";

export interface Pod {
  readonly output: string;
  /** How many descriptors of network namespaces and sockets it has open. */
  openFiles(): number;
  /** Ends it in order. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

export interface PodOptions {
  readonly env: Readonly<Record<string, string>>;
  /** Where it says that it is ready. */
  readonly url: string;
  readonly dialer: Dialer;
  /** Default: that of the test. */
  readonly netns?: NetnsHandle;
}

const program = fileURLToPath(new URL("../journey/run-component.ts", import.meta.url));
const top = fileURLToPath(new URL("../..", import.meta.url));
const readyTimeoutMs = 60_000;

/** A network namespace that only its handle and the processes in it keep. */
export function namelessNetns(t: CleanUp): NetnsHandle & { readonly url: string } {
  const handle = openNewNetns();
  t.after(() => handle.close());
  return { ...handle, url: inodeUrl(handle) };
}

export async function startPod(t: CleanUp, name: PartName, options: PodOptions): Promise<Pod> {
  const { env, url, dialer, netns } = options;
  const args = ["--pid", "--fork", "--kill-child", "--mount-proc", process.execPath, "--import", "tsx", program, name];
  const settings = {
    cwd: top,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], WEFT_INSECURE: "true", NSM_LISTEN_ON: url, ...env },
    stdio: ["pipe", "ignore", "pipe"] as ["pipe", "ignore", "pipe"],
  };
  const child: ChildProcess =
    netns === undefined ? spawn("unshare", args, settings) : spawnInNetns(netns, "unshare", args, settings);
  let output = "";
  child.stderr?.on("data", (chunk) => (output += chunk));
  const end = async (how: () => void): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    how();
    await exited;
  };
  const kill = (): Promise<void> => end(() => child.kill("SIGKILL"));
  t.after(kill);
  await until(
    `${name} to be ready`,
    async () => {
      if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}: ${output.slice(-3000)}`);
      const limit = AbortSignal.timeout(1_000);
      return (await dialer.health(url, "", limit).catch(() => 0)) === 1;
    },
    readyTimeoutMs,
  ).catch((error) => {
    throw new Error(`${name}: ${output.slice(-3000)}`, { cause: error });
  });
  return {
    get output() {
      return output;
    },
    openFiles: () => filesOf(childOf(child.pid ?? 0)),
    stop: () => end(() => child.stdin?.end()),
    kill,
  };
}

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
}

function filesOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return /^(net:|socket:|.*\.sock)/.test(readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      return false;
    }
  }).length;
}
