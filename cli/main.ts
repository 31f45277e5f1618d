/**
 * The command `weft`. Components run their own main in this process; every other command is one file in commands/.
 * Exit codes: 0 done, 1 it failed, 2 the command line is wrong.
 */
import { type Component, components } from "./components.js";
import type { CliContext } from "./context.js";
import { reportFailure } from "./failure.js";

export interface Invocation {
  /** Without program and script. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How this very command was started: program and first arguments. */
  readonly self: readonly string[];
  /** Default: the process's own standard output and error. */
  readonly out?: CliContext["out"];
  readonly err?: CliContext["err"];
}

export async function main(invocation: Invocation): Promise<number> {
  const controller = new AbortController();
  // the first signal asks to stop in order; a second one ends the process in the system's way
  const stop = (): void => {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
    controller.abort();
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  // whoever read our output may leave early (`weft connect … | head -1`): work that was asked for is still finished,
  // and only a watch, which would go on for nobody, ends
  const readerGone = (error: NodeJS.ErrnoException): void => {
    if (error.code !== "EPIPE") throw error;
    if (invocation.argv.some((word) => word === "-w" || word === "--watch")) controller.abort();
  };
  if (invocation.out === undefined) process.stdout.on("error", readerGone);
  const context: CliContext = {
    env: invocation.env,
    self: invocation.self,
    signal: controller.signal,
    out: invocation.out ?? process.stdout,
    err: invocation.err ?? process.stderr,
  };
  try {
    const component = components.get(invocation.argv[0] ?? "");
    if (component !== undefined) return await runComponent(component, invocation, context);
    const { runCommand } = await import("./commands.js");
    return await runCommand(invocation.argv, context);
  } catch (error) {
    return reportFailure(error, context);
  } finally {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
    // `readerGone` stays: what was written last may fail after we are done
  }
}

async function runComponent(component: Component, { argv, env }: Invocation, { signal }: CliContext): Promise<number> {
  const { run } = await component.load();
  return run({ argv: argv.slice(1), env, signal });
}
