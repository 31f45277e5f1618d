/**
 * The demo for an ordinary user: started again as root of a user namespace of its own, with its own network, mounts and
 * processes. When it ends the kernel removes all of it.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
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

export function isInside(env: CliContext["env"]): boolean {
  return env[insideMark] === "1";
}

/** First thing inside: a /run of our own for namespaces and sockets, where the machine's is not ours to write. */
export function prepareInside(): void {
  mount("tmpfs", "/run", "tmpfs", 0, "mode=0755", "mount a tmpfs on /run of this mount namespace");
}

/**
 * Runs the same command inside and hands on its exit code.
 * @throws FAILED_PRECONDITION when this machine does not allow user namespaces, with the remedy
 */
export async function runInside(argv: readonly string[], { self, env, signal }: CliContext): Promise<number> {
  const [program = "", ...flags] = chooseUnshare();
  const child = spawn(program, [...flags, ...self, ...argv], { stdio: "inherit", env: { ...env, [insideMark]: "1" } });
  let force: NodeJS.Timeout | undefined;
  // a terminal's Ctrl-C reaches the inside as well, which then cleans up by itself
  const stop = (): void => {
    force = setTimeout(() => child.kill("SIGKILL"), stopGraceMs);
  };
  signal.addEventListener("abort", stop);
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    return code ?? 1;
  } finally {
    clearTimeout(force);
    signal.removeEventListener("abort", stop);
  }
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
