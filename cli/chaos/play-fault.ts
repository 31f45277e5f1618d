/** Plays one fault on the stage and says what came of it. */
import { setTimeout as pause } from "node:timers/promises";
import { toStatusError } from "../../sdk/status.js";
import { inject } from "./inject.js";
import { controlStream } from "./pods.js";
import { answerTimeMs } from "./prober.js";
import { type Promised, promiseOf } from "./promises.js";
import type { Fault } from "./schedule.js";
import { type Stage, untilWell } from "./stage.js";

/** What happened at which time, in milliseconds since the beginning of the run. */
export interface TimelineEntry {
  readonly fault: Fault;
  readonly injectedAtMs: number;
  /** The first connection that noticed, counted from the fault; undefined = nobody did. */
  readonly foundAfterMs: number | undefined;
  /** The last connection that said it is healed, counted from the fault. */
  readonly healedAfterMs: number | undefined;
  /** From the moment everything served again until every connection carried packets and no client was in trouble. */
  readonly wellAfterMs: number;
  /** Connections whose client noticed something, and those that went to another endpoint. */
  readonly noticed: number;
  readonly moved: number;
  readonly sent: number;
  readonly lost: number;
  /** Packets lost and longest outage of each stream that lost any. */
  readonly losses: readonly { readonly stream: string; readonly lost: number; readonly outageMs: number }[];
  readonly lostOutside: number;
  readonly promised: Promised;
  /** Why the promise does not hold; empty = it holds. */
  readonly broken: readonly string[];
}

/** Longer than any promise: what is not well by then does not heal. */
const wellTimeoutMs = 30_000;
/** Later reports of losses are of packets sent within the window. */
const stragglersMs = answerTimeMs + 300;

export async function playFault(stage: Stage, fault: Fault, startedAtMs: number): Promise<TimelineEntry> {
  const { prober, clients } = stage;
  const before = new Map(prober.streams());
  const known = clients.notes().length;
  const injectedAtMs = Date.now();
  const problems: string[] = [];
  await inject(stage, fault);
  const overMs = Date.now();
  let servingMs = overMs;
  const watched = {
    signal: stage.signal,
    unwell: async () => {
      const why = await stage.unwell();
      if (why !== undefined && / (is down|does not serve)$/.test(why)) servingMs = Date.now();
      return why;
    },
  };
  await untilWell(watched, wellTimeoutMs).catch((error: unknown) => {
    stage.signal.throwIfAborted();
    problems.push(toStatusError(error).details);
  });
  const wellMs = Date.now();
  await pause(stragglersMs);
  const notes = clients.notes().slice(known);
  const found = notes.find(({ kind }) => kind === "trouble");
  const healed = notes.findLast(({ kind }) => kind === "healed");
  const lost = prober.lost(injectedAtMs - 20, Date.now());
  const losses = [...lost]
    .filter(([name]) => name !== controlStream)
    .map(([stream, times]) => ({ stream, lost: times.length, outageMs: outageOf(times) }));
  const after = prober.streams();
  const entry = {
    fault,
    injectedAtMs: injectedAtMs - startedAtMs,
    foundAfterMs: found && found.atMs - injectedAtMs,
    healedAfterMs: healed && healed.atMs - injectedAtMs,
    wellAfterMs: wellMs - servingMs,
    noticed: new Set(notes.filter(({ kind }) => kind === "trouble").map(({ connection }) => connection)).size,
    moved: [...after].filter(([name, { far }]) => before.get(name)?.far !== far).length / 2,
    sent: [...after].reduce((sum, [name, { sent }]) => sum + sent - (before.get(name)?.sent ?? 0), 0),
    lost: losses.reduce((sum, { lost }) => sum + lost, 0),
    losses,
    lostOutside: lost.get(controlStream)?.length ?? 0,
    promised: promiseOf(fault, stage.topology),
  };
  return { ...entry, broken: [...problems, ...entry.promised.check({ ...entry, overAfterMs: overMs - injectedAtMs })] };
}

/** The longest time in which each packet was lost; two losses belong together when less than a fifth of a second lies between. */
export function outageOf(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  let longest = 0;
  let first = sorted[0] ?? 0;
  let last = first;
  for (const time of sorted) {
    if (time - last > 200) first = time;
    last = time;
    longest = Math.max(longest, last - first);
  }
  return longest;
}
