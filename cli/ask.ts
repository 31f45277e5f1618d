/**
 * The questions alone, without the components and the local mesh: it is beside the agent in its image, where `weft cluster`
 * runs it, because the agent of a node may ask the managers and the forwarder.
 */
import { Command, CommanderError } from "commander";
import type { Act, Action } from "./act.js";
import type { CliContext } from "./context.js";
import { reportFailure } from "./failure.js";
import { addQuestions } from "./questions.js";
import { version } from "./version.js";

/** @returns the exit code */
export async function run(options: {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}): Promise<number> {
  const { argv, env, signal } = options;
  const context: CliContext = { env, self: [], signal, out: process.stdout, err: process.stderr };
  let exitCode = 0;
  const act: Act =
    <A extends Action>(action: A) =>
    async (...args: Parameters<A>): Promise<void> => {
      exitCode = await action(...args);
    };
  const program = new Command("weft").version(version).exitOverride();
  addQuestions(program, context, act);
  try {
    await program.parseAsync(argv.length === 0 ? ["--help"] : [...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return reportFailure(error, context);
  }
}
