/**
 * What the registry costs: Register, Find by name, service and url, and a change told to many watchers. The registry is
 * a process of its own on loopback TCP, the generator is this process.
 */
import { createDialer } from "../sdk/transport/dial.js";
import { cpuMs, residentMiB } from "./process-cost.js";
import {
  call,
  type Endpoints,
  entry,
  find,
  inParallel,
  number,
  perService,
  perUrl,
  queries,
  warmUp,
} from "./registry-entries.js";
import { goRows } from "./registry-go.js";
import { type RegistryProcess, startRegistry, withFolder } from "./registry-process.js";
import type { Bench, BenchRow } from "./table.js";

const workers = 8;
/** Into which the Finds of each kind are divided. */
const rounds = 4;

interface Filled {
  readonly registry: RegistryProcess;
  readonly endpoints: Endpoints;
  readonly size: number;
}

interface Cost {
  readonly cpuMs: number;
  readonly perSecond: number;
}

export const bench: Bench = {
  name: "registry",
  missing: async () => undefined,
  async run(options) {
    const { quick, progress } = options;
    const sizes = quick ? [1_000, 5_000] : [1_000, 100_000];
    const finds = quick ? 400 : 4_000;
    const rows: BenchRow[] = [];
    for (const store of ["memory", "lmdb"] as const) rows.push(...(await lookUps(store, sizes, finds, progress)));
    rows.push(...(await goRows(options)));
    return { name: "registry", title: "Registry", method, rows };
  },
};

const method = `The registry as a process of its own on loopback TCP, ${workers} workers in the generator's process, ${perService} endpoints
per service and ${perUrl} per url. CPU is the user and system time of the registry's process, from /proc, divided by the
operations. Registries of both sizes run side by side and are asked in turn (A B A B); the
ratio of a Find is that to the same Find in the small one. lmdb is the default store: a Register is answered when
it is on the disk. A change is one Register of an endpoint that all watchers (each a stream, 100 on a connection) watch by name.
The registry of the Go SDK (its public chain, store memory) stands beside one of ours that holds the same, and is asked in turn with it.`;

/** Registries of each size side by side, so that whatever else the machine does falls on all of them (A B A B). */
async function lookUps(
  store: "memory" | "lmdb",
  sizes: readonly number[],
  finds: number,
  progress: (text: string) => void,
  filled: readonly Filled[] = [],
): Promise<BenchRow[]> {
  const size = sizes[filled.length];
  if (size === undefined) return measureFinds(store, filled, finds, progress);
  return withRegistry(store, async (registry, endpoints) => {
    progress(`${store}: registering ${number(size)} endpoints`);
    await warmUp(endpoints);
    const registered = await cost(registry, size, (i) => endpoints.register(entry(i), call()));
    const what = `${store}, ${number(size)} endpoints`;
    const rows = costRows(`${what}: Register`, registered);
    const memory = { what: `${what}: resident memory`, value: residentMiB(registry.pid), unit: "MiB" };
    rows.push(size === 100_000 ? { ...memory, gate: { of: "value", atMost: 300 } } : memory);
    return [...rows, ...(await lookUps(store, sizes, finds, progress, [...filled, { registry, endpoints, size }]))];
  });
}

async function measureFinds(
  store: string,
  filled: readonly Filled[],
  finds: number,
  progress: (text: string) => void,
): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const [kind, query] of queries) {
    progress(`${store}: find by ${kind}`);
    const totals = filled.map(() => ({ cpuMs: 0, perSecond: 0 }));
    for (let round = 0; round <= rounds; round++) {
      for (const [index, { registry, endpoints, size }] of filled.entries()) {
        const found = await cost(registry, finds / rounds, (i) => find(endpoints, query((i * 7_919 + round) % size)));
        const total = totals[index];
        // the first round warms up
        if (total === undefined || round === 0) continue;
        total.cpuMs += found.cpuMs / rounds;
        total.perSecond += found.perSecond / rounds;
      }
    }
    for (const [index, { size }] of filled.entries()) {
      const what = `${store}, ${number(size)} endpoints: Find by ${kind}`;
      const total = totals[index];
      const first = index === 0 ? undefined : totals[0];
      if (total !== undefined) rows.push(...costRows(what, total, first, filled[0]?.size));
    }
  }
  return rows;
}

async function cost(registry: RegistryProcess, count: number, run: (i: number) => Promise<unknown>): Promise<Cost> {
  const [startedMs, startedCpuMs] = [performance.now(), cpuMs(registry.pid)];
  await inParallel(count, workers, run);
  const elapsedMs = performance.now() - startedMs;
  return { cpuMs: (cpuMs(registry.pid) - startedCpuMs) / count, perSecond: (count * 1_000) / elapsedMs };
}

function costRows(what: string, { cpuMs, perSecond }: Cost, first?: Cost, firstSize?: number): BenchRow[] {
  const peer = first === undefined ? {} : { peer: { name: `at ${number(firstSize ?? 0)}`, value: first.cpuMs } };
  const isFind = what.includes("Find");
  return [
    {
      what: `${what}, CPU`,
      value: cpuMs,
      unit: "ms",
      ...peer,
      ...(isFind && first !== undefined ? { gate: { of: "ratio", atMost: 1.5 } as const } : {}),
      ...(isFind && first === undefined ? { gate: { of: "value", atMost: 0.3 } as const } : {}),
    },
    { what: `${what}, rate`, value: perSecond, unit: "/s" },
  ];
}

function withRegistry<T>(
  store: "memory" | "lmdb",
  run: (registry: RegistryProcess, endpoints: Endpoints) => Promise<T>,
): Promise<T> {
  return withFolder(async (folder) => {
    const dialer = createDialer({ dialTimeoutMs: 5_000 });
    let registry: RegistryProcess | undefined;
    try {
      registry = await startRegistry({ store, folder });
      return await run(registry, dialer.endpointRegistry(registry.url));
    } finally {
      dialer.close();
      await registry?.stop();
    }
  });
}
