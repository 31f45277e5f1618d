/** A million endpoints in one registry: what a Find costs, what they weigh, how long they take to come back, what is left. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { anonymousMiB, cpuMs, residentMiB } from "../process-cost.js";
import { call, type Endpoints, entry, find, inParallel, number, queries, warmUp } from "../registry-entries.js";
import { type RegistryProcess, startRegistry, withFolder } from "../registry-process.js";
import type { BenchOptions, BenchRow } from "../table.js";

const filler = fileURLToPath(new URL("fill-store.ts", import.meta.url));
/** A forced collection of so many entries takes seconds on a busy machine, and nothing is answered meanwhile. */
const dialTimeoutMs = 60_000;
/** Many, so that writes of the store are put together. */
const loaders = 256;
/** Registered over the wire on top of those that were there at the start. */
const more = 5_000;
const workers = 8;
const rounds = 3;
/** Above what the empty registry took, both after forced collections and without the store's file, in MiB. */
const leftAtMost = 100;

interface Filled {
  readonly size: number;
  readonly pid: number;
  readonly endpoints: Endpoints;
}

export function endpointRows({ quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const [fewer, many] = quick ? [1_000, 10_000] : [100_000, 1_000_000];
  const dialer = createDialer({ dialTimeoutMs });
  const running: RegistryProcess[] = [];
  const start = async (folder: string): Promise<RegistryProcess> => {
    const registry = await startRegistry({ store: "lmdb", folder });
    running.push(registry);
    return registry;
  };
  return withFolder(async (folder) => {
    try {
      const small = await start(`${folder}/small`);
      await warmUp(dialer.endpointRegistry(small.url));
      const emptyMiB = await ownMiB(small);
      const few = await fill(small, dialer, fewer, progress);
      progress(`writing a store of ${number(many)} endpoints`);
      await promisify(execFile)(process.execPath, ["--import", "tsx", filler, `${folder}/large`, String(many)]);
      const registry = await start(`${folder}/large`);
      progress(`started with them: ${(registry.startMs / 1000).toFixed(1)} s`);
      const large = { size: many, pid: registry.pid, endpoints: dialer.endpointRegistry(registry.url) };
      return [
        ...few.rows,
        ...(await loadedRows(registry, large)),
        ...(await findRows([few, large], quick ? 240 : 2_400, progress)),
        ...(await emptied(registry, large, emptyMiB, progress)),
      ];
    } finally {
      dialer.close();
      for (const registry of running) await registry.stop();
    }
  });
}

/** Registers over the wire. */
async function fill(registry: RegistryProcess, dialer: Dialer, size: number, progress: (text: string) => void) {
  const { pid } = registry;
  const endpoints = dialer.endpointRegistry(registry.url);
  progress(`registering ${number(size)} endpoints`);
  const [startedMs, startedCpuMs] = [performance.now(), cpuMs(pid)];
  await inParallel(size, loaders, (i) => endpoints.register(entry(i), call()));
  const perSecond = (size * 1000) / (performance.now() - startedMs);
  const what = `${number(size)} endpoints`;
  const rows: BenchRow[] = [
    { what: `${what}: Register, ${loaders} at once, CPU`, value: (cpuMs(pid) - startedCpuMs) / size, unit: "ms" },
    { what: `${what}: Register, ${loaders} at once, rate`, value: perSecond, unit: "/s" },
    { what: `${what}: resident memory after a forced collection`, value: await registry.collected(), unit: "MiB" },
  ];
  return { size, pid, endpoints, rows };
}

/** Of a registry that was started with many, and what one more costs it. */
async function loadedRows(registry: RegistryProcess, { size, endpoints }: Filled): Promise<BenchRow[]> {
  const { pid, startMs } = registry;
  const what = `${number(size)} endpoints`;
  const rows: BenchRow[] = [
    { what: `${what}: from start until it answers`, value: startMs / 1000, unit: "s" },
    { what: `${what}: from start until it answers, CPU`, value: cpuMs(pid) / 1000, unit: "s" },
    { what: `${what}: resident memory after the start`, value: residentMiB(pid), unit: "MiB" },
    { what: `${what}: resident memory after a forced collection`, value: await registry.collected(), unit: "MiB" },
  ];
  await warmUp(endpoints);
  const startedCpuMs = cpuMs(pid);
  await inParallel(more, loaders, (i) => endpoints.register(entry(size + i), call()));
  const cost = (cpuMs(pid) - startedCpuMs) / more;
  return [...rows, { what: `${what}: Register, ${loaders} at once, CPU`, value: cost, unit: "ms" }];
}

/** Both sizes in turn (A B A B), so that whatever else the machine does falls on both. */
async function findRows(filled: readonly Filled[], finds: number, progress: (text: string) => void): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const [kind, query] of queries.slice(0, 2)) {
    const costs = filled.map(() => 0);
    for (let round = 0; round <= rounds; round++) {
      for (const [index, { pid, endpoints, size }] of filled.entries()) {
        const startedCpuMs = cpuMs(pid);
        await inParallel(finds, workers, (i) => find(endpoints, query((i * 7_919 + round) % size)));
        // the first round warms up
        if (round > 0) costs[index] = (costs[index] ?? 0) + (cpuMs(pid) - startedCpuMs) / finds / rounds;
      }
    }
    progress(`find by ${kind}: ${costs.map((cost) => cost.toFixed(3)).join(" and ")} ms CPU`);
    for (const [index, { size }] of filled.entries()) {
      const peer = index > 0 && { peer: { name: `at ${number(filled[0]?.size ?? 0)}`, value: costs[0] ?? 0 } };
      const gate = { of: "value", atMost: 0.3 } as const;
      rows.push({ what: `${number(size)} endpoints: Find by ${kind}, CPU`, value: costs[index] ?? 0, unit: "ms", ...peer, gate });
    }
  }
  return rows;
}

async function emptied(
  registry: RegistryProcess,
  { size, pid, endpoints }: Filled,
  emptyMiB: number,
  progress: (text: string) => void,
): Promise<BenchRow[]> {
  progress(`unregistering ${number(size)} endpoints`);
  const startedCpuMs = cpuMs(pid);
  await inParallel(size + more, loaders, (i) => endpoints.unregister(entry(i), call()));
  const cost = (cpuMs(pid) - startedCpuMs) / (size + more);
  const what = `${number(size)} endpoints`;
  const left = (await ownMiB(registry)) - emptyMiB;
  return [
    { what: `${what}: Unregister, ${loaders} at once, CPU`, value: cost, unit: "ms" },
    {
      what: `${what}, all unregistered: own memory above that of an empty registry, both after forced collections`,
      value: left,
      unit: "MiB",
      gate: { of: "value", atMost: leftAtMost },
    },
    {
      what: `${what}, all unregistered: pages of mapped files, most of them the store's`,
      value: residentMiB(pid) - anonymousMiB(pid),
      unit: "MiB",
    },
  ];
}

/** A large heap is given back in steps. */
async function ownMiB(registry: RegistryProcess): Promise<number> {
  for (let round = 0; round < 2; round++) await registry.collected();
  return anonymousMiB(registry.pid);
}
