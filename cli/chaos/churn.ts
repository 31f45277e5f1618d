/**
 * Churn: clients give their connections back and ask again, over and over, while components are killed now and then. What counts is
 * what is left: nothing in the kernels, no address given twice, memory and descriptors of the components flat.
 */
import { readdirSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { CliContext } from "../context.js";
import { auditAfterClients } from "./audit.js";
import { inject } from "./inject.js";
import { controlStream, type ProbeSettings } from "./pods.js";
import { createChance } from "./random.js";
import { residentMiB } from "./resident.js";
import { openStage, type Stage, untilWell } from "./stage.js";
import type { Topology } from "./topology.js";

export interface ChurnOptions {
  readonly seed: number;
  readonly cycles: number;
  readonly topology: Topology;
  readonly settings: ProbeSettings;
}

export interface ChurnResult {
  readonly ok: boolean;
  readonly summary: string;
  readonly seed: number;
  readonly cycles: number;
  readonly connections: number;
  readonly kills: number;
  readonly orphans: readonly string[];
  /** Addresses that two connections had at the same time. */
  readonly addressesTwice: readonly string[];
  readonly unhealed: string;
  /** Growth of each component that ran through, from its second half on. */
  readonly growth: readonly Growth[];
}

export interface Growth {
  readonly name: string;
  readonly samples: number;
  readonly memoryMiB: number;
  /** Per 100 cycles, by least squares. */
  readonly memoryMiBPer100: number;
  readonly descriptorsPer100: number;
}

interface Sample {
  readonly cycle: number;
  readonly pid: number;
  readonly memoryMiB: number;
  readonly descriptors: number;
}

/** One cycle in so many comes with a kill of a component. */
const killEvery = 12;
const sampleEvery = 5;
const cyclePauseMs = 400;
const wellTimeoutMs = 60_000;
/** Garbage collection makes waves; beyond this it is a slope. */
const flat = { memoryMiBPer100: 6, descriptorsPer100: 6 };
/** A slope through fewer points says nothing. */
const enoughSamples = 8;

export async function runChurn(options: ChurnOptions, context: CliContext, show: (line: string) => void): Promise<ChurnResult> {
  const { topology, cycles, seed } = options;
  const chance = createChance(seed);
  const stage = await openStage(topology, options.settings, context, show);
  const components = ["registry", ...stage.mesh.state.nodes.flatMap(({ nsmgr, forwarder }) => [nsmgr.name, forwarder.name])];
  const samples = new Map(components.map((name) => [name, [] as Sample[]]));
  const addressesTwice = new Set<string>();
  let kills = 0;
  try {
    for (let cycle = 1; cycle <= cycles; cycle++) {
      const client = chance.pick(topology.clients).pod;
      // half of them say good-bye, half are killed and take over what they find
      await inject(stage, chance.next() < 0.5 ? { kind: "restart", targets: [client] } : { kind: "kill", targets: [client] });
      if (cycle % killEvery === 0) {
        kills++;
        await inject(stage, { kind: "kill", targets: [chance.pick(components)] });
      }
      await pause(cyclePauseMs);
      for (const twice of sharedAddresses(stage)) addressesTwice.add(twice);
      if (cycle % sampleEvery === 0) takeSamples(stage, cycle, samples);
      if (cycle % 50 === 0) show(`cycle ${cycle}`);
    }
    const unhealed = await untilWell(stage, wellTimeoutMs).then(
      () => "",
      (error: Error) => error.message,
    );
    const orphans = await auditAfterClients(stage);
    const growth = [...samples].flatMap(([name, all]) => growthOf(name, all));
    const grown = growth.filter(
      (one) => one.memoryMiBPer100 > flat.memoryMiBPer100 || one.descriptorsPer100 > flat.descriptorsPer100,
    );
    const ok = orphans.length === 0 && addressesTwice.size === 0 && unhealed === "" && grown.length === 0;
    const connections = topology.clients.reduce((sum, one) => sum + one.connections, 0);
    const summary = `${cycles} churn cycles, ${kills} components killed: ${orphans.length} orphans, ${addressesTwice.size} addresses twice, ${grown.length} components grow${unhealed === "" ? "" : `; ${unhealed}`}`;
    return { ok, summary, seed, cycles, connections, kills, orphans, addressesTwice: [...addressesTwice], unhealed, growth };
  } finally {
    await stage.stop();
  }
}

/** As the kernels of the pods have them: an address of ours is that of one connection only. */
function sharedAddresses({ prober }: Stage): string[] {
  const owners = new Map<string, string>();
  const shared: string[] = [];
  for (const { name, own } of prober.streams().values()) {
    if (own === "" || name === controlStream) continue;
    const other = owners.get(own);
    if (other !== undefined) shared.push(`${own}: ${other} and ${name}`);
    owners.set(own, name);
  }
  return shared;
}

function takeSamples(stage: Stage, cycle: number, samples: ReadonlyMap<string, Sample[]>): void {
  for (const [name, all] of samples) {
    const { pid } = stage.process(name);
    if (pid === undefined) continue;
    try {
      all.push({ cycle, pid, memoryMiB: residentMiB(pid), descriptors: readdirSync(`/proc/${pid}/fd`).length });
    } catch {
      // it ended meanwhile
    }
  }
}

/** Of the process that ran longest; the first half of its life it may grow to its size. */
function growthOf(name: string, all: readonly Sample[]): Growth[] {
  const lives = new Map<number, Sample[]>();
  for (const sample of all) lives.set(sample.pid, [...(lives.get(sample.pid) ?? []), sample]);
  const longest = [...lives.values()].toSorted((a, b) => b.length - a.length)[0] ?? [];
  const later = longest.slice(longest.length >> 1);
  if (later.length < enoughSamples) return [];
  return [
    {
      name,
      samples: later.length,
      memoryMiB: Math.round(later.at(-1)?.memoryMiB ?? 0),
      memoryMiBPer100: round(100 * slope(later.map(({ cycle, memoryMiB }) => [cycle, memoryMiB]))),
      descriptorsPer100: round(100 * slope(later.map(({ cycle, descriptors }) => [cycle, descriptors]))),
    },
  ];
}

/** Least squares. */
export function slope(points: readonly (readonly [number, number])[]): number {
  const mean = (of: 0 | 1): number => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const over = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  const under = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  return under === 0 ? 0 : over / under;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
