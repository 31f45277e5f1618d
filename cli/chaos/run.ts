/** One run of the chaos suite: a mesh under traffic, the faults of a seed one after the other, the audit at the end. */
import { cpSync, existsSync } from "node:fs";
import { findExecutable, foldersOf } from "../../sdk/linux/executable.js";
import type { CliContext } from "../context.js";
import { logFolder } from "../mesh/plan.js";
import { auditAfterClients } from "./audit.js";
import { playFault, type TimelineEntry } from "./play-fault.js";
import { controlStream, type ProbeSettings } from "./pods.js";
import { residentMiB } from "./resident.js";
import { type Fault, schedule } from "./schedule.js";
import { openStage, type Stage } from "./stage.js";
import type { Topology } from "./topology.js";

export interface RunOptions {
  readonly seed: number;
  readonly faults: number;
  readonly kinds?: readonly string[] | undefined;
  readonly topology: Topology;
  readonly settings: ProbeSettings;
  /** Where to copy the logs at the end. */
  readonly logs?: string | undefined;
}

export interface RunResult {
  /** Every promise holds, nothing is left, and the machine lost nothing itself. */
  readonly ok: boolean;
  /** The machine lost packets outside the mesh: the run says nothing. */
  readonly void: boolean;
  readonly summary: string;
  readonly seed: number;
  readonly nodes: number;
  readonly connections: number;
  readonly sent: number;
  readonly lost: number;
  readonly duplicates: number;
  /** The longest that the prober itself was held up. */
  readonly proberLateMs: number;
  readonly orphans: readonly string[];
  /** Resident memory of each component at the end, by name. */
  readonly memoryMiB: Readonly<Record<string, number>>;
  readonly timeline: readonly TimelineEntry[];
}

const shownOrphans = 8;

export async function runChaos(options: RunOptions, context: CliContext, show: (line: string) => void): Promise<RunResult> {
  const { seed, topology } = options;
  const faults = schedule(topology, { seed, count: options.faults, kinds: options.kinds });
  const startedAtMs = Date.now();
  const stage = await openStage(topology, options.settings, context, (text) => show(`${clock(startedAtMs)}  ${text}`));
  try {
    const timeline: TimelineEntry[] = [];
    for (const fault of faults) {
      show(`${clock(startedAtMs)}  ${describeFault(fault)}`);
      const entry = await playFault(stage, fault, startedAtMs);
      timeline.push(entry);
      for (const line of describeEntry(entry)) show(`          ${line}`);
    }
    const streams = [...stage.prober.streams()];
    const memoryMiB = memoryOf(stage);
    const orphans = await auditAfterClients(stage);
    show(
      `${clock(startedAtMs)}  audit: ${orphans.length === 0 ? "nothing is left" : `${orphans.length} orphans: ${orphans.slice(0, shownOrphans).join("; ")}`}`,
    );
    return { ...resultOf(options, stage, streams, timeline, orphans), memoryMiB };
  } finally {
    if (options.logs !== undefined) cpSync(logFolder, options.logs, { recursive: true });
    await stage.stop();
  }
}

function resultOf(
  { seed, topology }: RunOptions,
  { prober }: Stage,
  streams: readonly (readonly [string, { readonly sent: number; readonly duplicates: number }])[],
  timeline: readonly TimelineEntry[],
  orphans: readonly string[],
): Omit<RunResult, "memoryMiB"> {
  const inside = streams.filter(([name]) => name !== controlStream).map(([, stream]) => stream);
  const sent = inside.reduce((sum, stream) => sum + stream.sent, 0);
  const lost = timeline.reduce((sum, entry) => sum + entry.lost, 0);
  const isVoid = timeline.some(({ lostOutside }) => lostOutside > 0);
  const broken = timeline.filter((entry) => entry.broken.length > 0).length;
  const ok = !isVoid && broken === 0 && orphans.length === 0;
  const verdict = isVoid
    ? "VOID: the machine lost packets outside the mesh"
    : ok
      ? "every promise held"
      : `${broken} promises BROKEN, ${orphans.length} orphans`;
  return {
    ok,
    void: isVoid,
    summary: `seed ${seed}: ${timeline.length} faults, ${sent} packets, ${lost} lost; ${verdict}`,
    seed,
    nodes: topology.nodes,
    connections: topology.clients.reduce((sum, { connections }) => sum + connections, 0),
    sent,
    lost,
    duplicates: inside.reduce((sum, stream) => sum + stream.duplicates, 0),
    proberLateMs: prober.longestLateMs(),
    orphans,
    timeline,
  };
}

function memoryOf({ mesh }: Stage): Record<string, number> {
  const components = ["registry", ...mesh.state.nodes.flatMap(({ nsmgr, forwarder }) => [nsmgr.name, forwarder.name])];
  return Object.fromEntries(components.map((name) => [name, Math.round(residentMiB(mesh.processes.get(name)?.pid))]));
}

/** Whether payload IP can be carried between nodes here. */
export function canEncrypt(): boolean {
  return existsSync("/dev/net/tun") && findExecutable("wireguard-go", foldersOf(process.env["PATH"])) !== undefined;
}

export function describeFault({ kind, targets, ...more }: Fault): string {
  const rest = Object.entries(more).map(
    ([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`,
  );
  const who = targets.length > 6 ? `${targets.length} processes` : targets.join(" + ");
  return [kind, who, ...rest].join(" ");
}

function describeEntry(entry: TimelineEntry): string[] {
  const { foundAfterMs, healedAfterMs, wellAfterMs, noticed, moved, requests, mostPer100Ms, sent, lost, losses, broken } = entry;
  const found = foundAfterMs === undefined ? "unnoticed" : `found after ${foundAfterMs} ms by ${noticed} connections`;
  const healed = healedAfterMs === undefined ? "" : `, healed after ${healedAfterMs} ms`;
  const longest = Math.max(0, ...losses.map(({ outageMs }) => outageMs));
  const gone = lost === 0 ? "0 lost" : `${lost} lost on ${losses.length} streams, longest outage ${longest} ms`;
  return [
    `${found}${healed}; well ${wellAfterMs} ms after all served; ${moved} moved, ${requests} requests, at most ${mostPer100Ms} in 100 ms; ${sent} packets, ${gone}`,
    ...broken.slice(0, 6).map((why) => `BROKEN: ${why}`),
  ];
}

function clock(startedAtMs: number): string {
  return `${((Date.now() - startedAtMs) / 1000).toFixed(1).padStart(6)} s`;
}
