/** A server program of the cluster as a child that ends with us, however we end. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface Server {
  readonly pid: number;
  readonly running: boolean;
  /** The end of what it wrote. */
  log(): string;
  /** Sends the signal (default TERM, KILL after 10 s) and waits until it has gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Waits until `ready` gives true. @throws with the log when the server ends before, or time is over */
  until(what: string, ready: () => Promise<boolean>, timeoutMs?: number): Promise<void>;
}

const keptLog = 60_000;

export function startServer(name: string, command: readonly string[], env: Readonly<Record<string, string>> = {}): Server {
  // setpriv: the kernel kills it when this process dies, even by SIGKILL
  const args = ["--pdeathsig", "KILL", "--", ...command];
  const child: ChildProcess = spawn("setpriv", args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", TMPDIR: process.env["TMPDIR"] ?? "/tmp", ...env },
  });
  let written = "";
  let failed: Error | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk) => {
      written = (written + String(chunk)).slice(-keptLog);
    });
  }
  child.on("error", (error) => {
    failed = error;
  });
  const running = (): boolean => failed === undefined && child.exitCode === null && child.signalCode === null;
  return {
    get pid() {
      return child.pid ?? -1;
    },
    get running() {
      return running();
    },
    log: () => written,
    async stop(signal = "SIGTERM") {
      if (!running()) return;
      const closed = once(child, "close");
      child.kill(signal);
      const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await closed;
      clearTimeout(late);
    },
    async until(what, ready, timeoutMs = 120_000) {
      const endMs = Date.now() + timeoutMs;
      for (;;) {
        if (!running()) throw new Error(`${name} ended before ${what}: ${failed?.message ?? ""}\n${written.slice(-4_000)}`);
        if (await ready().catch(() => false)) return;
        if (Date.now() > endMs) throw new Error(`${name}: not ${what} within ${timeoutMs} ms:\n${written.slice(-4_000)}`);
        await sleep(100);
      }
    },
  };
}

/** Ports of loopback that are free now. */
export async function freePorts(count: number, host = "127.0.0.1"): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    server.listen(0, host);
    await once(server, "listening");
    const address = server.address();
    if (typeof address === "object" && address !== null) ports.push(address.port);
  }
  for (const server of servers) server.close();
  await Promise.all(servers.map((server) => once(server, "close")));
  return ports;
}
