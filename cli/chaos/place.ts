/**
 * A place of its own for a chaos run: other network, mounts, processes and /run. It touches no mesh of this machine, and when
 * it ends, by a kill too, the kernel removes all of it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { mount } from "../../sdk/linux/libc.js";
import type { CliContext } from "../context.js";
import { isInside, mayMakeNamespaces, prepareInside, runInside } from "../demo/unprivileged.js";

/** Set in the environment of the second start. */
const insideMark = "WEFT_CHAOS_PLACE";
/** State of all components, on a file system so small that it can be filled. */
export const stateFolder = "/run/weft-state";
const stateSize = "48m";

/** Whether this process is inside already. */
export function isInPlace({ env }: CliContext): boolean {
  return env[insideMark] === "1" || isInside(env);
}

/** First thing inside. */
export function preparePlace(): void {
  prepareInside();
  mkdirSync(stateFolder);
  mount("tmpfs", stateFolder, "tmpfs", 0, `size=${stateSize},mode=0755`, "mount a small tmpfs for the state of components");
}

/** Runs the same command inside and hands on its exit code. */
export async function runInPlace(argv: readonly string[], context: CliContext): Promise<number> {
  if (!mayMakeNamespaces()) return runInside(argv, context, () => {});
  const flags = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  // a shell is the first process there, because orphans become its children and it buries them
  const child = spawn("unshare", [...flags, "sh", "-c", '"$@"; exit $?', "sh", ...context.self, ...argv], {
    stdio: "inherit",
    env: { ...context.env, [insideMark]: "1" },
  });
  const stop = (): void => void child.kill("SIGKILL");
  context.signal.addEventListener("abort", stop);
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    return code ?? 1;
  } finally {
    context.signal.removeEventListener("abort", stop);
  }
}
