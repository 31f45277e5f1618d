/** A program that tells what happens to it as lines of JSON on standard output, and takes commands on standard input. */
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync } from "node:fs";

export interface Segment {
  readonly name: string;
  readonly id: string;
  /** RFC 3339, empty when there is none. */
  readonly expires: string;
  /** It carries a token. */
  readonly signed: boolean;
}

export interface Described {
  readonly id: string;
  readonly state: string;
  readonly endpoint: string;
  readonly mechanism: string;
  readonly addresses: readonly string[];
  readonly segments: readonly Segment[];
}

export interface Event extends Partial<Described> {
  readonly event: string;
  /** Why something failed; empty when it did not. */
  readonly error?: string;
  /** Of a monitor's event. */
  readonly type?: string;
  readonly connections?: readonly Described[];
}

export interface EventProcess {
  readonly events: readonly Event[];
  /** The end of its standard error. */
  readonly errors: string;
  /** Waits for an event after the first `from`. */
  next(what: string, wanted: (event: Event) => boolean, options?: { from?: number; timeoutMs?: number }): Promise<Event>;
  tell(command: string): void;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  /** SIGTERM, and SIGKILL when it has not ended within five seconds. */
  stop(): Promise<void>;
}

/** To find out why something fails: all standard error goes to files there. */
const logFolder = process.env["WEFT_INTEROP_LOGS"];
const patienceMs = 25_000;
const stopMs = 5_000;
const keptErrorBytes = 20_000;

export function startEventProcess(
  name: string,
  command: readonly [string, ...string[]],
  env: Readonly<Record<string, string | undefined>>,
): EventProcess {
  const child = spawn(command[0], command.slice(1), { env, stdio: ["pipe", "pipe", "pipe"] });
  const events: Event[] = [];
  const waiting = new Set<() => void>();
  let errors = "";
  let ended: string | undefined;
  const rouse = (): void => {
    for (const wake of [...waiting]) wake();
  };
  const logFile = logFolder === undefined ? undefined : `${logFolder}/${name.replaceAll(" ", "-")}.log`;
  child.stderr.on("data", (chunk) => {
    if (logFile !== undefined) appendFileSync(logFile, chunk);
    errors = (errors + chunk).slice(-keptErrorBytes);
  });
  // a process that ends while it is told something is no error of ours: who waits for its answer hears of it
  child.stdin.on("error", () => {});
  onLines(child, (line) => {
    events.push(JSON.parse(line) as Event);
    rouse();
  });
  const exited = new Promise<void>((resolve) => {
    child.once("close", (code, signal) => {
      ended = `${name} ended with ${code ?? signal}`;
      rouse();
      resolve();
    });
  });
  return {
    events,
    get errors() {
      return errors;
    },
    async next(what, wanted, { from = 0, timeoutMs = patienceMs } = {}) {
      const deadlineMs = Date.now() + timeoutMs;
      for (;;) {
        const found = events.slice(from).find(wanted);
        if (found !== undefined) return found;
        const seen = (): string => `${events.slice(-8).map(brief).join("\n")}\n${errors.slice(-3000)}`;
        if (ended !== undefined) throw new Error(`${ended}, waited for ${what}\n${seen()}`);
        const leftMs = deadlineMs - Date.now();
        if (leftMs <= 0) throw new Error(`${name}: not within ${timeoutMs} ms: ${what}\n${seen()}`);
        await wokenWithin(waiting, leftMs);
      }
    },
    tell: (line) => void child.stdin.write(`${line}\n`),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
    async stop() {
      child.kill("SIGTERM");
      const hard = setTimeout(() => child.kill("SIGKILL"), stopMs);
      await exited;
      clearTimeout(hard);
    },
  };
}

function wokenWithin(waiting: Set<() => void>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      clearTimeout(timer);
      waiting.delete(wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    waiting.add(wake);
  });
}

function onLines(child: ChildProcess, hear: (line: string) => void): void {
  let rest = "";
  child.stdout?.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("{")) hear(line);
  });
}

function brief({ event, state, error, type, segments }: Event): string {
  return JSON.stringify({ event, state, error, type, path: segments?.map(({ name }) => name) });
}
