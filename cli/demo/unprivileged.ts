/**
 * The demo for an ordinary user: started again as root of a user namespace of its own, with its own network, mounts and
 * processes. When it ends the kernel removes all of it.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readlinkSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { mount } from "../../sdk/linux/libc.js";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";

/** Set in the environment of the second start. */
const insideMark = "WEFT_USER_NAMESPACE";
const stopGraceMs = 15_000;

/** Whether this process may make namespaces itself: CAP_SYS_ADMIN and CAP_NET_ADMIN (capabilities(7)). */
export function mayMakeNamespaces(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  const needed = (1n << 21n) | (1n << 12n);
  return (BigInt(`0x${effective}`) & needed) === needed;
}

/** Whether an ordinary user may have a user namespace here. */
export function mayMakeUserNamespaces(): boolean {
  return spawnSync("unshare", ["--user", "--map-root-user", "--net", "--mount", "true"], { stdio: "ignore" }).status === 0;
}

export function isInside(env: CliContext["env"]): boolean {
  return env[insideMark] === "1";
}

/** First thing inside: a /run of our own for namespaces and sockets, where the machine's is not ours to write. */
export function prepareInside(): void {
  mount("tmpfs", "/run", "tmpfs", 0, "mode=0755", "mount a tmpfs on /run of this mount namespace");
}

/**
 * Runs the same command inside and hands on its exit code.
 * @param hint  told, once, how to start a program inside from another terminal
 * @throws FAILED_PRECONDITION when this machine does not allow user namespaces, with the remedy
 */
export async function runInside(
  argv: readonly string[],
  { self, env, signal }: CliContext,
  hint: (entry: readonly string[]) => void,
): Promise<number> {
  const [program = "", ...flags] = chooseUnshare();
  const child = spawn(program, [...flags, ...self, ...argv], { stdio: "inherit", env: { ...env, [insideMark]: "1" } });
  let force: NodeJS.Timeout | undefined;
  // a terminal's Ctrl-C reaches the inside as well, which then cleans up by itself
  const stop = (): void => {
    force = setTimeout(() => child.kill("SIGKILL"), stopGraceMs);
  };
  signal.addEventListener("abort", stop);
  try {
    const exited = once(child, "exit") as Promise<[number | null]>;
    const inner = flags.includes("--fork") ? await childOf(child) : child.pid;
    if (inner !== undefined) hint(entryTo(inner, flags.includes("--pid")));
    const [code] = await exited;
    return code ?? 1;
  } finally {
    clearTimeout(force);
    signal.removeEventListener("abort", stop);
  }
}

/** nsenter(1) into the namespaces of a process; the same user may, and is root there. */
function entryTo(pid: number, ownProcesses: boolean): string[] {
  const kinds = ["--user", "--net", "--mount", ...(ownProcesses ? ["--pid"] : [])];
  return ["nsenter", "--preserve-credentials", ...kinds, "--target", String(pid)];
}

/** The process that `unshare --fork` waits for; undefined when it ends before it is seen. */
async function childOf(parent: ChildProcess): Promise<number | undefined> {
  while (parent.exitCode === null && parent.signalCode === null) {
    try {
      const children = readFileSync(`/proc/${parent.pid}/task/${parent.pid}/children`, "utf8").trim().split(" ");
      // unshare also forks short-lived helpers, which stay in its own process namespace
      const inner = children.find(
        (pid) => pid !== "" && readlinkSync(`/proc/${pid}/ns/pid`) !== readlinkSync("/proc/self/ns/pid"),
      );
      if (inner !== undefined) return Number(inner);
    } catch {
      // not there yet, or gone
    }
    await pause(10);
  }
  return undefined;
}

function chooseUnshare(): string[] {
  const base = ["unshare", "--user", "--map-root-user", "--net", "--mount"];
  // in some containers /proc may not be mounted again; then the process ids of the machine are used
  const ways = [[...base, "--pid", "--fork", "--kill-child", "--mount-proc"], base];
  const refusals: string[] = [];
  for (const way of ways) {
    const [program = "", ...flags] = way;
    const { status, error, stderr } = spawnSync(program, [...flags, "true"], { encoding: "utf8" });
    if (status === 0) return way;
    if (error !== undefined)
      throw statusError(Code.FAILED_PRECONDITION, "`unshare` is missing; install util-linux, or run it with sudo");
    refusals.push(stderr.trim());
  }
  throw statusError(
    Code.FAILED_PRECONDITION,
    `no root and no user namespaces here (${refusals[0] ?? ""}); run it with sudo, or allow them (\`weft doctor\` says how)`,
  );
}
