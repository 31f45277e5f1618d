/**
 * Churn: clients give their connections back and ask again, over and over, while components are killed now and then. What counts is
 * what is left: nothing in the kernels, no address given twice, memory and descriptors of the components flat.
 */
import { cpSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { CliContext } from "../context.js";
import { logFolder } from "../mesh/plan.js";
import { auditAfterClients } from "./audit.js";
import { type Growth, growthOf, type Sample } from "./growth.js";
import { inject } from "./inject.js";
import { controlStream, type ProbeSettings } from "./pods.js";
import { createChance } from "./random.js";
import { openStage, type Stage, untilWell } from "./stage.js";
import type { Topology } from "./topology.js";
import { createUsageAsker, type UsageAsker } from "./usage.js";

export interface ChurnOptions {
  readonly seed: number;
  readonly cycles: number;
  readonly topology: Topology;
  readonly settings: ProbeSettings;
  /**
   * This node's components and endpoints, its first client and the registry live through it all, so that a slope of what they hold
   * can be told; everything else is killed as ever.
   */
  readonly spare?: string | undefined;
  /** Where to copy the logs at the end. */
  readonly logs?: string | undefined;
}

export interface ChurnResult {
  readonly ok: boolean;
  readonly summary: string;
  readonly seed: number;
  readonly cycles: number;
  readonly connections: number;
  /** Of components and endpoints. */
  readonly kills: number;
  /** The node that was spared. */
  readonly spared: string;
  readonly orphans: readonly string[];
  /** Addresses that two connections had at the same time. */
  readonly addressesTwice: readonly string[];
  readonly unhealed: string;
  /** Of each process that lived long enough. */
  readonly growth: readonly Growth[];
}

/** One cycle in so many comes with a kill of a component or an endpoint. */
const killEvery = 12;
const sampleEvery = 5;
const cyclePauseMs = 400;
const wellTimeoutMs = 60_000;

export async function runChurn(options: ChurnOptions, context: CliContext, show: (line: string) => void): Promise<ChurnResult> {
  const { topology, seed } = options;
  const usage = createUsageAsker(context);
  const stage = await openStage(topology, options.settings, { ...context, env: usage.env }, show);
  try {
    const { kills, addressesTwice, samples } = await churn(options, stage, usage, show);
    const unhealed = await untilWell(stage, wellTimeoutMs).then(
      () => "",
      (error: Error) => error.message,
    );
    const orphans = await auditAfterClients(stage);
    const growth = [...samples].flatMap(([name, all]) => growthOf(name, all) ?? []);
    const grown = growth.filter(({ grows }) => grows.length > 0);
    const ok = orphans.length === 0 && addressesTwice.length === 0 && unhealed === "" && grown.length === 0;
    const connections = topology.clients.reduce((sum, one) => sum + one.connections, 0);
    const counts = `${orphans.length} orphans, ${addressesTwice.length} addresses twice, ${grown.length} of ${growth.length} processes grow`;
    const summary = `${options.cycles} churn cycles, ${kills} processes killed: ${counts}${unhealed === "" ? "" : `; ${unhealed}`}`;
    for (const one of growth) show(describeGrowth(one));
    for (const orphan of orphans) show(`ORPHAN: ${orphan}`);
    const { cycles, spare: spared = "" } = options;
    return { ok, summary, seed, cycles, connections, kills, spared, orphans, addressesTwice, unhealed, growth };
  } finally {
    if (options.logs !== undefined) cpSync(logFolder, options.logs, { recursive: true });
    await stage.stop();
    usage.close();
  }
}

interface Churned {
  readonly kills: number;
  readonly addressesTwice: readonly string[];
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
}

async function churn(
  { seed, cycles, spare, topology }: ChurnOptions,
  stage: Stage,
  usage: UsageAsker,
  show: (line: string) => void,
): Promise<Churned> {
  const chance = createChance(seed);
  const { components, spared } = castOf(stage, spare);
  const victims = [...components, ...topology.endpoints.map(({ pod }) => pod)].filter((name) => !spared.has(name));
  const guests = topology.clients.map(({ pod }) => pod).filter((name) => !spared.has(name));
  const samples = new Map([...new Set([...components, ...spared])].map((name) => [name, [] as Sample[]]));
  const addressesTwice = new Set<string>();
  let kills = 0;
  for (let cycle = 1; cycle <= cycles; cycle++) {
    const client = chance.pick(guests);
    // half of them say good-bye, half are killed and take over what they find
    const kind = chance.next() < 0.5 ? "restart" : "kill";
    await inject(stage, { kind, targets: [client] });
    if (cycle % killEvery === 0) {
      kills++;
      const victim = chance.pick(victims);
      show(`cycle ${cycle}: ${client} (${kind}), then kill -9 of ${victim}`);
      await inject(stage, { kind: "kill", targets: [victim] });
    }
    await pause(cyclePauseMs);
    for (const twice of sharedAddresses(stage)) addressesTwice.add(twice);
    if (cycle % sampleEvery === 0) await takeSamples(stage, usage, cycle, samples);
  }
  return { kills, addressesTwice: [...addressesTwice], samples };
}

/** Components of the mesh, and who of all processes is not to be killed. */
function castOf({ mesh, topology }: Stage, spare: string | undefined): { components: string[]; spared: ReadonlySet<string> } {
  const nodes = mesh.state.nodes;
  const components = ["registry", ...nodes.flatMap(({ nsmgr, forwarder }) => [nsmgr.name, forwarder.name])];
  if (spare === undefined) return { components, spared: new Set() };
  const onNode = ({ node }: { readonly node: string }): boolean => node === spare;
  const spared = [
    "registry",
    ...nodes.filter(({ name }) => name === spare).flatMap(({ nsmgr, forwarder }) => [nsmgr.name, forwarder.name]),
    ...topology.endpoints.filter(onNode).map(({ pod }) => pod),
    ...topology.clients
      .filter(onNode)
      .slice(0, 1)
      .map(({ pod }) => pod),
  ];
  return { components, spared: new Set(spared) };
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

async function takeSamples(
  stage: Stage,
  usage: UsageAsker,
  cycle: number,
  samples: ReadonlyMap<string, Sample[]>,
): Promise<void> {
  const living = [...samples.keys()].flatMap((name) => {
    const { pid } = stage.process(name);
    return pid === undefined ? [] : [[name, pid] as const];
  });
  for (const [name, held] of await usage.ask(new Map(living))) samples.get(name)?.push({ cycle, ...held });
}

function describeGrowth({ name, fromCycle, toCycle, memoryMiB, heapMiB, descriptors, handles, grows }: Growth): string {
  const each = [
    ["resident MiB", memoryMiB],
    ["heap MiB", heapMiB],
    ["descriptors", descriptors],
    ["handles", handles],
  ] as const;
  const slopes = each.map(([what, { last, per100, spread }]) => `${what} ${last} (${per100} ± ${spread} per 100)`);
  const verdict = grows.length === 0 ? "" : ` GROWS: ${grows.join(", ")}`;
  return `${name}, cycles ${fromCycle} to ${toCycle}: ${slopes.join(", ")}${verdict}`;
}
