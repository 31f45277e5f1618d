/** What the processes of a rehearsal hold: memory, descriptors, and what keeps them busy; each answers for itself (scripts/chaos-usage.mjs). */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { CliContext } from "../context.js";
import { runFolder } from "../mesh/plan.js";
import { residentMiB } from "./resident.js";

export interface Usage {
  readonly pid: number;
  /** Resident, before garbage was collected for the question. */
  readonly memoryMiB: number;
  /** On V8's heap after a full collection. */
  readonly heapMiB: number;
  readonly descriptors: number;
  /** Sockets, timers, watches, requests under way, together. */
  readonly handles: number;
}

export interface UsageAsker {
  /** The environment with which processes answer. */
  readonly env: CliContext["env"];
  /** Of those processes that answer in time, by name. @param pids  of the processes asked, by name */
  ask(pids: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, Usage>>;
  /** Removes the folder of answers. */
  close(): void;
}

const folder = join(runFolder, "usage");
/** A process on a busy machine collects garbage for tenths of a second. */
const answerTimeMs = 5_000;

export function createUsageAsker({ env, self }: Pick<CliContext, "env" | "self">): UsageAsker {
  const hook = pathToFileURL(join(dirname(self.at(-1) ?? ""), "chaos-usage.mjs")).href;
  let question = 0;
  return {
    env: { ...env, NODE_OPTIONS: `${env["NODE_OPTIONS"] ?? ""} --import ${hook}`.trim(), WEFT_CHAOS_USAGE: folder },
    async ask(pids) {
      const before = new Map([...pids].map(([name, pid]) => [name, { pid, ...countOf(pid) }]));
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "ask.new"), String(++question));
      renameSync(join(folder, "ask.new"), join(folder, "ask"));
      const waiting = new Map(before);
      const found = new Map<string, Usage>();
      for (const endMs = performance.now() + answerTimeMs; waiting.size > 0 && performance.now() < endMs; ) {
        await pause(50);
        for (const [name, seen] of waiting) {
          const answer = readAnswer(name);
          if (answer?.question !== String(question)) continue;
          waiting.delete(name);
          if (answer.pid !== seen.pid) continue; // another one by now
          found.set(name, { ...seen, heapMiB: answer.heapBytes / 2 ** 20, handles: sum(Object.values(answer.handles)) });
        }
      }
      return found;
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

interface Answer {
  readonly question: string;
  readonly pid: number;
  readonly heapBytes: number;
  readonly handles: Readonly<Record<string, number>>;
}

function readAnswer(name: string): Answer | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, name), "utf8")) as Answer;
  } catch {
    return undefined; // it has not answered anything yet
  }
}

function countOf(pid: number): Pick<Usage, "memoryMiB" | "descriptors"> {
  try {
    return { memoryMiB: residentMiB(pid), descriptors: readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    return { memoryMiB: 0, descriptors: 0 }; // it ended meanwhile, and will not answer
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
