/** Components as real processes that a test can kill -9 and start again at the same address. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { openNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { until } from "../../sdk/testing/until.js";
import type { Dialer } from "../../sdk/transport/dial.js";

export interface ComponentProcess {
  readonly name: string;
  /** The unix socket on which it tells its health. */
  readonly url: string;
  /**
   * Starts it and waits until it serves.
   * @param program  another build's scripts/weft.mjs; it stays the one for later starts
   */
  start(program?: string): Promise<void>;
  /** Sends the signal and waits until the process has gone. Does nothing when it is not running. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Only sends the signal: SIGSTOP, SIGCONT. */
  signal(signal: NodeJS.Signals): void;
  /** Whether it has ended by itself. */
  ended(): boolean;
  /** What it wrote to standard error so far. */
  log(): string;
}

export type EndpointKind = "kernel" | "memif";

export interface ProcessOptions {
  readonly name: string;
  /** The component as `weft` calls it, or an endpoint with its arguments. */
  readonly component:
    | "registry"
    | "nsmgr"
    | "forwarder"
    | "node"
    | { readonly kind: EndpointKind; readonly endpoint: readonly string[] };
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
  /** Name of the namespace it runs in; empty = this one. */
  readonly netns: string;
  readonly dialer: Dialer;
  /** scripts/weft.mjs of the build it runs; default this one. */
  readonly program?: string | undefined;
}

/** What `start` runs unless told otherwise. */
export const thisBuild = fileURLToPath(new URL("../../scripts/weft.mjs", import.meta.url));
const endpointPrograms: Readonly<Record<EndpointKind, string>> = {
  kernel: fileURLToPath(new URL("endpoint-process.ts", import.meta.url)),
  memif: fileURLToPath(new URL("memif-endpoint-process.ts", import.meta.url)),
};
/** A start reads and compiles sources on a machine that may be busy. */
const startTimeoutMs = 40_000;
/** What is kept of a log, in characters. */
const keptLog = 200_000;

export function componentProcess(options: ProcessOptions): ComponentProcess {
  const { name, component, url, dialer } = options;
  let child: ChildProcess | undefined;
  let written = "";
  let weft = options.program ?? thisBuild;
  return {
    name,
    url,
    log: () => written,
    async start(program = weft) {
      weft = program;
      const args =
        typeof component === "string"
          ? [weft, component]
          : ["--import", "tsx", endpointPrograms[component.kind], ...component.endpoint];
      const env = { PATH: process.env["PATH"] ?? "", NSM_NAME: name, NSM_LISTEN_ON: url, ...common, ...options.env };
      const how = { env, stdio: ["ignore", "ignore", "pipe"] as ["ignore", "ignore", "pipe"] };
      const started = options.netns === "" ? spawn(process.execPath, args, how) : spawnAt(options.netns, args, how);
      child = started;
      started.stderr?.on("data", (chunk) => {
        written = (written + String(chunk)).slice(-keptLog);
      });
      const serving = async (): Promise<boolean> => {
        if (started.exitCode !== null) throw new Error(`${name} ended with ${started.exitCode}:\n${written.slice(-3_000)}`);
        const status = await dialer.health(url, "", AbortSignal.timeout(1_000)).catch(() => undefined);
        // A manager says NOT_SERVING as long as no forwarder has come to it.
        return status === ServingStatus.SERVING || (component === "nsmgr" && status !== undefined);
      };
      await until(`${name} to serve`, serving, startTimeoutMs);
    },
    signal: (signal) => void child?.kill(signal),
    ended: () => child !== undefined && (child.exitCode !== null || child.signalCode !== null),
    async kill(signal = "SIGKILL") {
      const running = child;
      child = undefined;
      if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
      const gone = new Promise((resolve) => running.once("close", resolve));
      running.kill(signal);
      await gone;
    },
  };
}

function spawnAt(netns: string, args: readonly string[], how: SpawnOptions): ChildProcess {
  const handle = openNetns(netns);
  try {
    return spawnInNetns(handle, process.execPath, args, how);
  } finally {
    // kept open it would keep the namespace of a pod that has gone
    handle.close();
  }
}

const common = { WEFT_INSECURE: "true", WEFT_DRAIN_TIMEOUT: "500ms", NSM_LOG_LEVEL: "info" };
