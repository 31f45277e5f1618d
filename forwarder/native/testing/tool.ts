/** Runs the core's tools (ping, blast, sink, echo) as processes of a test. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { coreProgram } from "../keeper-client.js";

/** Why tests of the core cannot run here; undefined = they can. */
export function notBuilt(): string | undefined {
  return existsSync(coreProgram()) ? undefined : 'the packet core is not built: run "npm run build:native" (needs a C compiler)';
}

export interface Totals {
  readonly up: boolean;
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  readonly doubled: number;
}

export interface RunningTool {
  readonly process: ChildProcess;
  /** Every line that it has printed, parsed. */
  readonly lines: readonly unknown[];
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
  /** Resolves when a line satisfies the condition; rejects when the tool ends before. */
  until(condition: (line: Totals) => boolean): Promise<Totals>;
  /** Asks it to end and gives its last line. */
  stop(): Promise<Totals>;
}

/**
 * @param t    ends it with the test
 * @param env  default: ours
 */
export function runTool(
  t: { after(action: () => unknown): void },
  args: readonly string[],
  env?: NodeJS.ProcessEnv,
): RunningTool {
  const child = spawn(coreProgram(), args, { stdio: ["ignore", "pipe", "pipe"], env });
  const lines: Totals[] = [];
  const watchers = new Set<() => void>();
  let rest = "";
  let told = "";
  let over = false;
  child.stderr.on("data", (chunk: Buffer) => {
    told += chunk.toString();
  });
  child.stdout.on("data", (chunk: Buffer) => {
    rest += chunk.toString();
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      lines.push(JSON.parse(rest.slice(0, end)) as Totals);
      rest = rest.slice(end + 1);
    }
    for (const each of [...watchers]) each();
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once("close", (code) => {
      over = true;
      for (const each of [...watchers]) each();
      resolve(code);
    });
  });
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return {
    process: child,
    lines,
    ended,
    until: (condition) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines.find(condition);
          if (found === undefined && !over) return;
          watchers.delete(look);
          if (found !== undefined) resolve(found);
          else reject(new Error(`weft-fast ${args.join(" ")} ended: ${told} ${JSON.stringify(lines.at(-1))}`));
        };
        watchers.add(look);
        look();
      }),
    async stop() {
      child.kill("SIGTERM");
      await ended;
      const last = lines.at(-1);
      if (last === undefined) throw new Error(`weft-fast ${args.join(" ")} printed nothing: ${told}`);
      return last;
    },
  };
}

/** A name for an abstract socket that nobody else uses. */
export function socketName(hint: string): string {
  return `@wt/${process.pid}/${hint}-${Math.random().toString(36).slice(2, 10)}`;
}
