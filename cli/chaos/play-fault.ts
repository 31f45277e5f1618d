/** Plays one fault on the stage and says what came of it. */
import { setTimeout as pause } from "node:timers/promises";
import { toStatusError } from "../../sdk/status.js";
import type { ClientNote } from "./follow-clients.js";
import { inject } from "./inject.js";
import { controlStream } from "./pods.js";
import { answerTimeMs } from "./prober.js";
import { type Promised, promiseOf } from "./promises.js";
import type { Fault } from "./schedule.js";
import { type Stage, untilWell } from "./stage.js";
import type { Lost } from "./tally.js";

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
  /** Requests of clients, in all and in the busiest tenth of a second. */
  readonly requests: number;
  readonly mostPer100Ms: number;
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
  await inject(stage, fault).catch((error: unknown) => {
    stage.signal.throwIfAborted();
    problems.push(toStatusError(error).details);
  });
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
  // each client's log is in order, the notes of all are not
  const timesOf = (wanted: ClientNote["kind"]): number[] => notes.filter(({ kind }) => kind === wanted).map(({ atMs }) => atMs);
  const found = timesOf("trouble");
  const healed = timesOf("healed");
  const lost = prober.lost(injectedAtMs - 20, Date.now());
  const losses = [...lost]
    .filter(([name]) => name !== controlStream)
    .map(([stream, those]) => ({
      stream,
      lost: those.length,
      outageMs: outageOf(those, prober.streams().get(stream)?.periodMs ?? 0),
    }));
  const after = prober.streams();
  const entry = {
    fault,
    injectedAtMs: injectedAtMs - startedAtMs,
    foundAfterMs: found.length === 0 ? undefined : Math.min(...found) - injectedAtMs,
    healedAfterMs: healed.length === 0 ? undefined : Math.max(...healed) - injectedAtMs,
    wellAfterMs: wellMs - servingMs,
    noticed: new Set(notes.filter(({ kind }) => kind === "trouble").map(({ connection }) => connection)).size,
    moved: new Set([...after].filter(([name, { far }]) => before.get(name)?.far !== far).map(([name]) => name.split(" ")[0]))
      .size,
    ...pressureOf(notes),
    sent: [...after].reduce((sum, [name, { sent }]) => sum + sent - (before.get(name)?.sent ?? 0), 0),
    lost: losses.reduce((sum, { lost }) => sum + lost, 0),
    losses,
    lostOutside: lost.get(controlStream)?.length ?? 0,
    promised: promiseOf(fault, stage.topology),
  };
  return { ...entry, broken: [...problems, ...entry.promised.check({ ...entry, overAfterMs: overMs - injectedAtMs })] };
}

/** The longest time from a packet that was lost to the next one that was answered. */
export function outageOf(lost: readonly Lost[], periodMs: number): number {
  const sorted = lost.toSorted((a, b) => a.sequence - b.sequence);
  let longest = 0;
  let first: Lost | undefined;
  let before: Lost | undefined;
  for (const one of sorted) {
    if (first === undefined || before === undefined || one.sequence !== before.sequence + 1) first = one;
    before = one;
    longest = Math.max(longest, one.atMs - first.atMs + periodMs);
  }
  return Math.round(longest);
}

/** How many Requests the clients made, and how many in the tenth of a second with the most. */
export function pressureOf(notes: readonly ClientNote[]): { readonly requests: number; readonly mostPer100Ms: number } {
  const tenths = new Map<number, number>();
  const asked = notes.filter(({ kind }) => kind === "asked");
  for (const { atMs } of asked) {
    const tenth = Math.floor(atMs / 100);
    tenths.set(tenth, (tenths.get(tenth) ?? 0) + 1);
  }
  return { requests: asked.length, mostPer100Ms: Math.max(0, ...tenths.values()) };
}
