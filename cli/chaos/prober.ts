/**
 * The prober: one process that sends through every connection of every pod at a steady rate and counts exactly what comes
 * back. It learns addresses from the kernels of the pods alone, so that it believes nothing the mesh says.
 */
import { readFileSync } from "node:fs";
import { AF_INET, AF_INET6 } from "../../sdk/linux/libc.js";
import { formatAddress } from "../../sdk/linux/netlink/ip-address.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import type { CliContext } from "../context.js";
import { type FarEnd, farEnds } from "./far-ends.js";
import { openProbeSocket, type ProbeSocket } from "./prober-socket.js";
import { createTally, type Lost, type Tally } from "./tally.js";

export interface ProbePlan {
  readonly pods: readonly {
    readonly netns: string;
    readonly streams: readonly {
      readonly name: string;
      readonly interfaceName: string;
      /** Names that this connection's interface may have for a while. */
      readonly otherNames: readonly string[];
      readonly family: 4 | 6;
      readonly perSecond: number;
    }[];
  }[];
}

/** One line of the prober's output. */
export interface ProbeReport {
  readonly atMs: number;
  /** The longest the prober itself was late since the last report. */
  readonly lateMs: number;
  readonly streams: readonly StreamReport[];
}
export interface StreamReport {
  readonly name: string;
  readonly sent: number;
  readonly answered: number;
  readonly duplicates: number;
  readonly lastAnsweredSentAtMs: number;
  readonly own: string;
  readonly far: string;
  /** Between two packets. */
  readonly periodMs: number;
  /** What was found lost since the last report. */
  readonly lost: readonly Lost[];
}

/** After so long without an answer a packet is lost. */
export const answerTimeMs = 1_000;
const tickMs = 4;
const reportMs = 100;
/** Twice and more while a client leaves its old path standing (`lingerMs`, 500 ms). */
const lookMs = 200;
/** Of packets that are not counted. */
const trialSequence = 0xffffffff;
/** After a pause of this process no more than so much is made up for: a burst would overrun queues, and prove nothing. */
const catchUpMs = 20;

interface Stream {
  /** Its place among all; it travels in the packets. */
  readonly number: number;
  readonly name: string;
  readonly perMs: number;
  /** In far-ends.ts, of each name that its interface may have. */
  readonly keys: readonly string[];
  readonly tally: Tally;
  readonly socket: ProbeSocket;
  end: FarEnd | undefined;
  /** The way of a second interface: taken when an answer has come by it. */
  next: FarEnd | undefined;
  /** The way it has left: it stands for a while, and is not gone back to. */
  left: FarEnd["far"] | undefined;
  startMs: number | undefined;
}
interface Pod {
  readonly netlink: NetlinkSocket;
  readonly sockets: readonly ProbeSocket[];
  readonly streams: readonly Stream[];
  lookedAtMs: number;
}

/** The hidden command: runs until told to stop, then says what came in last. */
export async function probe(planFile: string, { signal, out }: Pick<CliContext, "signal" | "out">): Promise<number> {
  // it stands beside what is measured, and takes from the same processor
  const plan = JSON.parse(readFileSync(planFile, "utf8")) as ProbePlan;
  const all: Stream[] = [];
  const pods = plan.pods.map((pod) => openPod(pod, all));
  let lastTickMs = Date.now();
  let lateMs = 0;
  const tick = (): void => {
    const nowMs = Date.now();
    lateMs = Math.max(lateMs, nowMs - lastTickMs - tickMs);
    lastTickMs = nowMs;
    for (const pod of pods) work(pod, all, nowMs);
  };
  const report = (): void => {
    const atMs = Date.now();
    // what came in during a pause of this process came in time
    for (const pod of pods) read(pod, all);
    out.write(
      `${JSON.stringify({ atMs, lateMs, streams: all.map((stream) => reportOf(stream, atMs)) } satisfies ProbeReport)}\n`,
    );
    lateMs = 0;
  };
  const timers = [setInterval(tick, tickMs), setInterval(report, reportMs)];
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  for (const timer of timers) clearInterval(timer);
  for (const pod of pods) {
    for (const socket of pod.sockets) socket.close();
    pod.netlink.close();
  }
  return 0;
}

function openPod({ netns, streams }: ProbePlan["pods"][number], all: Stream[]): Pod {
  const handle = openNetns(netns);
  const sockets = { 4: openProbeSocket(handle, AF_INET), 6: openProbeSocket(handle, AF_INET6) };
  const netlink = openNetlinkSocket(handle);
  handle.close();
  const own = streams.map(({ name, interfaceName, otherNames, family, perSecond }, index): Stream => {
    return {
      number: all.length + index,
      name,
      perMs: perSecond / 1000,
      keys: [interfaceName, ...otherNames].map((each) => `${each}/${family}`),
      tally: createTally(answerTimeMs),
      socket: sockets[family],
      end: undefined,
      next: undefined,
      left: undefined,
      startMs: undefined,
    };
  });
  all.push(...own);
  return { netlink, sockets: [sockets[4], sockets[6]], streams: own, lookedAtMs: 0 };
}

function work(pod: Pod, all: readonly Stream[], nowMs: number): void {
  // first what has come in: it may have waited through a pause of this process
  read(pod, all);
  if (nowMs - pod.lookedAtMs >= lookMs) look(pod, nowMs);
  for (const stream of pod.streams) {
    if (stream.startMs === undefined) continue;
    const behindMs = nowMs - stream.startMs - stream.tally.sent / stream.perMs;
    if (behindMs > catchUpMs + 1 / stream.perMs) stream.startMs += behindMs - catchUpMs;
    const due = Math.floor((nowMs - stream.startMs) * stream.perMs) + 1;
    while (stream.tally.sent < due) send(pod, stream, nowMs);
  }
}

function read(pod: Pod, all: readonly Stream[]): void {
  for (const socket of pod.sockets) {
    socket.read((number, sequence) => {
      const stream = all[number];
      if (stream === undefined) return;
      if (sequence !== trialSequence) stream.tally.answer(sequence);
      else if (stream.next !== undefined) {
        stream.left = stream.end?.far;
        stream.end = stream.next;
        stream.next = undefined;
      }
    });
  }
}

/** Refused by the kernel: the way may have changed, so it is looked up and tried once more, as a program would. */
function send(pod: Pod, stream: Stream, nowMs: number): void {
  const sequence = stream.tally.send(nowMs);
  const go = (): boolean => stream.end !== undefined && stream.socket.send(stream.number, sequence, stream.end.far);
  if (go()) return;
  if (nowMs > pod.lookedAtMs) look(pod, nowMs);
  if (!go()) stream.tally.refuse(sequence);
}

function look(pod: Pod, nowMs: number): void {
  pod.lookedAtMs = nowMs;
  const found = farEnds(pod.netlink);
  for (const stream of pod.streams) {
    follow(
      stream,
      stream.keys.map((key) => found.get(key)).filter((end) => end !== undefined),
    );
    // it counts from the first moment at which there was a way
    if (stream.end !== undefined) stream.startMs ??= nowMs;
  }
}

/** A planned move has a second interface beside the first one for a while: as a workload would, it changes when packets pass. */
function follow(stream: Stream, ends: readonly FarEnd[]): void {
  const isCurrent = ({ far }: FarEnd): boolean =>
    stream.end !== undefined && formatAddress(far) === formatAddress(stream.end.far);
  if (!ends.some(isCurrent)) {
    [stream.end] = ends;
    stream.next = undefined;
    stream.left = undefined;
    return;
  }
  const wasLeft = ({ far }: FarEnd): boolean => stream.left !== undefined && formatAddress(far) === formatAddress(stream.left);
  if (!ends.some(wasLeft)) stream.left = undefined;
  stream.next = ends.find((end) => !isCurrent(end) && !wasLeft(end));
  if (stream.next !== undefined) stream.socket.send(stream.number, trialSequence, stream.next.far);
}

function reportOf({ name, tally, end, perMs }: Stream, atMs: number): StreamReport {
  const { sent, answered, duplicates, lastAnsweredSentAtMs } = tally;
  const own = end === undefined ? "" : formatAddress(end.own);
  const far = end === undefined ? "" : formatAddress(end.far);
  return { name, sent, answered, duplicates, lastAnsweredSentAtMs, own, far, periodMs: 1 / perMs, lost: tally.settle(atMs) };
}
