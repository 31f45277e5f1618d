/** A million endpoints in one registry: what a Find costs, what they weigh, how long they take to come back, what is left. */
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { cpuMs, residentMiB } from "../process-cost.js";
import { call, type Endpoints, entry, find, inParallel, number, queries, warmUp } from "../registry-entries.js";
import { type RegistryProcess, startRegistry, withFolder } from "../registry-process.js";
import type { BenchOptions, BenchRow } from "../table.js";

/** Many, so that writes of the store are put together: a million is to come to its end. */
const loaders = 256;
const workers = 8;
const rounds = 3;
/** Above what the empty registry took, both after a forced collection, in MiB. */
const leftAtMost = 100;

interface Filled {
  readonly size: number;
  readonly pid: number;
  readonly endpoints: Endpoints;
  readonly emptyMiB: number;
  readonly rows: readonly BenchRow[];
}

export function endpointRows({ quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const [fewer, many] = quick ? [1_000, 10_000] : [100_000, 1_000_000];
  const dialer = createDialer({ dialTimeoutMs: 5_000 });
  const running: RegistryProcess[] = [];
  const start = async (folder: string): Promise<RegistryProcess> => {
    const registry = await startRegistry({ store: "lmdb", folder });
    running.push(registry);
    return registry;
  };
  return withFolder(async (folder) => {
    try {
      const small = await fill(await start(`${folder}/small`), dialer, fewer, progress);
      const registry = await start(`${folder}/large`);
      const large = await fill(registry, dialer, many, progress);
      const rows = [...small.rows, ...large.rows, ...(await findRows([small, large], quick ? 240 : 2_400, progress))];
      await registry.kill();
      const again = await start(`${folder}/large`);
      progress(`killed and started again: ${(again.startMs / 1000).toFixed(1)} s`);
      rows.push(...(await backRows(again, dialer, many)), ...(await emptied(again, dialer, large, progress)));
      return rows;
    } finally {
      dialer.close();
      for (const registry of running) await registry.stop();
    }
  });
}

async function fill(registry: RegistryProcess, dialer: Dialer, size: number, progress: (text: string) => void): Promise<Filled> {
  const { pid } = registry;
  const endpoints = dialer.endpointRegistry(registry.url);
  await warmUp(endpoints);
  const emptyMiB = await registry.collected();
  progress(`registering ${number(size)} endpoints`);
  const [startedMs, startedCpuMs] = [performance.now(), cpuMs(pid)];
  await inParallel(size, loaders, (i) => endpoints.register(entry(i), call()));
  const perSecond = (size * 1000) / (performance.now() - startedMs);
  const what = `${number(size)} endpoints`;
  const rows = [
    { what: `${what}: Register, ${loaders} at once, CPU`, value: (cpuMs(pid) - startedCpuMs) / size, unit: "ms" },
    { what: `${what}: Register, ${loaders} at once, rate`, value: perSecond, unit: "/s" },
    { what: `${what}: resident memory`, value: residentMiB(pid), unit: "MiB" },
    { what: `${what}: resident memory after a forced collection`, value: await registry.collected(), unit: "MiB" },
  ];
  return { size, pid, endpoints, emptyMiB, rows };
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

async function backRows({ pid, url, startMs }: RegistryProcess, dialer: Dialer, size: number): Promise<BenchRow[]> {
  await find(dialer.endpointRegistry(url), queries[0][1](size - 1));
  const what = `${number(size)} endpoints, killed -9 and started again`;
  return [
    { what: `${what}: until it answers`, value: startMs / 1000, unit: "s" },
    { what: `${what}: resident memory`, value: residentMiB(pid), unit: "MiB" },
  ];
}

async function emptied(
  registry: RegistryProcess,
  dialer: Dialer,
  { size, emptyMiB }: Filled,
  progress: (text: string) => void,
): Promise<BenchRow[]> {
  const { pid, url } = registry;
  const endpoints = dialer.endpointRegistry(url);
  progress(`unregistering ${number(size)} endpoints`);
  const startedCpuMs = cpuMs(pid);
  await inParallel(size, loaders, (i) => endpoints.unregister(entry(i), call()));
  const what = `${number(size)} endpoints`;
  const left = (await registry.collected()) - emptyMiB;
  return [
    { what: `${what}: Unregister, ${loaders} at once, CPU`, value: (cpuMs(pid) - startedCpuMs) / size, unit: "ms" },
    {
      what: `${what}, all unregistered: memory above that of an empty registry, both after a forced collection`,
      value: left,
      unit: "MiB",
      gate: { of: "value", atMost: leftAtMost },
    },
  ];
}
