/** Programs of the packet core that generate, count and forward, for the benches. */
import { type ChildProcess, spawn } from "node:child_process";
import { coreProgram } from "../forwarder/native/keeper-client.js";

export interface Totals {
  readonly sent: number;
  readonly received: number;
  readonly doubled: number;
}

export function tool(args: readonly string[]): { readonly ended: Promise<void>; stop(): Promise<Totals> } {
  const child = spawn(coreProgram(), [...args], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    ended,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      return JSON.parse(out.trim().split("\n").at(-1) ?? "{}") as Totals;
    },
  };
}

export async function end(child: ChildProcess): Promise<void> {
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.kill("SIGKILL");
  await ended;
}
