/** Components as processes, for what only a process can suffer: kill -9. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Dialer } from "../../sdk/transport/dial.js";
import { until } from "./until.js";

export interface ComponentProcess {
  /** Starts it and waits until it answers. Does nothing while it runs. */
  start(): Promise<void>;
  /** SIGTERM, and waits for the end; the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  readonly pid: number | undefined;
  /** Everything it has written to standard error. */
  readonly output: string;
}

const program = fileURLToPath(new URL("./run-component.ts", import.meta.url));
const top = fileURLToPath(new URL("../..", import.meta.url));

/** @param url  where it answers health */
export function componentProcess(
  name: "registry" | "nsmgr" | "forwarder" | "node",
  env: Readonly<Record<string, string>>,
  { dialer, url, signal }: { dialer: Dialer; url: string; signal: AbortSignal },
): ComponentProcess {
  let child: ChildProcess | undefined;
  let output = "";
  const end = async (how: NodeJS.Signals): Promise<number | null> => {
    const was = child;
    child = undefined;
    if (was === undefined || was.exitCode !== null || was.signalCode !== null) return was?.exitCode ?? null;
    const exited = new Promise<number | null>((resolve) => was.once("exit", (code) => resolve(code)));
    was.kill(how);
    return exited;
  };
  return {
    get pid() {
      return child?.pid;
    },
    get output() {
      return output;
    },
    async start() {
      if (child !== undefined) return;
      child = spawn(process.execPath, ["--import", "tsx", program, name], {
        cwd: top,
        env: { PATH: process.env["PATH"], HOME: process.env["HOME"], WEFT_INSECURE: "true", ...env },
        stdio: ["pipe", "ignore", "pipe"],
      });
      child.stderr?.on("data", (chunk) => (output += chunk));
      const started = child;
      await until(`${name} answers`, async () => {
        if (started.exitCode !== null) throw new Error(`${name} ended with ${started.exitCode}: ${output.slice(-2000)}`);
        return dialer.health(url, "", signal).then(
          () => true,
          () => false,
        );
      });
    },
    stop: () => end("SIGTERM"),
    async kill() {
      await end("SIGKILL");
    },
  };
}
