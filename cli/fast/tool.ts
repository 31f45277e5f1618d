/** The tools of the packet core as child processes: each line that they print is one JSON object. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Code, statusError } from "../../sdk/status.js";

/** What blast, sink and echo print. */
export interface Totals {
  readonly up: boolean;
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  readonly doubled: number;
  readonly txMpps: number;
  readonly rxMpps: number;
  readonly rxGbps: number;
}

export interface Tool {
  /** The last line so far. */
  last(): Totals | undefined;
  /** Resolves with the exit code. */
  readonly ended: Promise<number>;
  /** Ends it; its totals. */
  stop(): Promise<Totals>;
}

export function startTool(
  program: string,
  args: readonly string[],
  signal: AbortSignal,
  onLine: (line: Totals & Record<string, unknown>) => void = () => {},
): Tool {
  const child = spawn(program, [...args], { stdio: ["ignore", "pipe", "pipe"] });
  let last: Totals | undefined;
  let told = "";
  child.stderr.on("data", (chunk: Buffer) => {
    told += chunk.toString();
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const read = JSON.parse(line) as Totals & Record<string, unknown>;
    last = read;
    onLine(read);
  });
  const abort = (): void => void child.kill("SIGTERM");
  signal.addEventListener("abort", abort);
  const ended = new Promise<number>((resolve) => {
    child.once("error", () => resolve(127));
    child.once("close", (code) => {
      signal.removeEventListener("abort", abort);
      resolve(code ?? 1);
    });
  });
  return {
    last: () => last,
    ended,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      if (last === undefined) throw statusError(Code.INTERNAL, `weft-fast ${args[0]} printed nothing: ${told.trim()}`);
      return last;
    },
  };
}

/** @throws FAILED_PRECONDITION with what to do when the core is not built */
export async function toolProgram(): Promise<string> {
  const [{ coreProgram }, { existsSync }] = await Promise.all([
    import("../../forwarder/native/keeper-client.js"),
    import("node:fs"),
  ]);
  const program = coreProgram();
  if (existsSync(program)) return program;
  throw statusError(
    Code.FAILED_PRECONDITION,
    `the packet core is not built (${program}); install a C compiler and run "npm run build:native"`,
  );
}
