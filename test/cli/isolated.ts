/**
 * A place of its own for `weft` commands: another /run, other processes, other mounts. Ending it ends every process in it
 * and frees every namespace, whatever the test has done.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

export const top = fileURLToPath(new URL("../..", import.meta.url));
export const weftScript = `${top}scripts/weft.mjs`;

export interface Finished {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface Place {
  weft(...argv: string[]): Promise<Finished>;
  /** Any program. */
  run(program: string, ...argv: string[]): Promise<Finished>;
  /** A `weft` that goes on; it ends with the place at the latest. */
  begin(...argv: string[]): Promise<Begun>;
}

export interface Begun {
  readonly finished: Promise<Finished>;
  /** Resolves when its standard output or standard error has matched. */
  said(pattern: RegExp): Promise<void>;
  signal(name: "INT" | "TERM" | "KILL"): Promise<void>;
}

export async function openPlace(t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<Place> {
  const script = "mount -t tmpfs tmpfs /run && echo ready && while :; do sleep 60 & wait; done";
  const holder = spawn("unshare", ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(async () => {
    const gone = once(holder, "exit");
    holder.kill("SIGKILL");
    await gone;
  });
  for await (const line of createInterface({ input: holder.stdout })) if (line === "ready") break;
  const enter = ["nsenter", "--mount", "--pid", "--target", String(innerPid(holder.pid ?? 0))];
  const start = (...command: string[]): ChildProcess => {
    const [program = "", ...argv] = [...enter, ...command];
    return spawn(program, argv, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  };
  const run = async (...command: string[]): Promise<Finished> => finish(start(...command));
  return {
    run,
    weft: (...argv) => run(process.execPath, weftScript, ...argv),
    // nsenter hands no signal on, so the program tells its own number first
    begin: (...argv) => follow(start("sh", "-c", 'echo "pid $$"; exec "$@"', "sh", process.execPath, weftScript, ...argv), run),
  };
}

async function follow(child: ChildProcess, run: (...command: string[]) => Promise<Finished>): Promise<Begun> {
  let out = "";
  let err = "";
  let heard = (): void => {};
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    heard();
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    err += text;
    heard();
  });
  const finished = finish(child);
  const said = async (pattern: RegExp): Promise<void> => {
    const matched = (): boolean => pattern.test(out) || pattern.test(err);
    while (!matched()) {
      const more = new Promise<true>((resolve) => {
        heard = () => resolve(true);
      });
      const goesOn = await Promise.race([more, finished.then(() => false)]);
      if (!goesOn && !matched()) throw new Error(`it ended without saying ${pattern}: ${JSON.stringify(await finished)}`);
    }
  };
  await said(/^pid \d+\n/);
  const pid = /\d+/.exec(out)?.[0] ?? "";
  return {
    finished,
    said,
    async signal(name) {
      await run("kill", `-${name}`, pid);
    },
  };
}

/** Collects what a program writes until it ends. */
export async function finish(child: ChildProcess): Promise<Finished> {
  const out: string[] = [];
  const err: string[] = [];
  child.stdout?.setEncoding("utf8").on("data", (text: string) => out.push(text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => err.push(text));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out: out.join(""), err: err.join("") };
}

function innerPid(parent: number): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim().split(" ");
  const inner = children.find((pid) => readlinkSync(`/proc/${pid}/ns/pid`) !== readlinkSync("/proc/self/ns/pid"));
  if (inner === undefined) throw new Error("unshare has no child in a process namespace of its own");
  return Number(inner);
}
