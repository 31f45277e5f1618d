/**
 * What the registry costs: Register, Find by name, service and url, and a change told to many watchers. The registry is
 * a process of its own on loopback TCP, the generator is this process.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { createDialer, type Dialer, type RemoteRegistry } from "../sdk/transport/dial.js";
import { cpuMs, percentile, residentMiB } from "./process-cost.js";
import type { Bench, BenchRow } from "./table.js";

const weft = fileURLToPath(new URL("../scripts/weft.mjs", import.meta.url));
const workers = 8;
const perService = 10;
const perUrl = 100;
/** Of the watchers; divides their numbers. */
const connections = 10;

interface Registry {
  readonly pid: number;
  readonly url: string;
  stop(): Promise<void>;
}

interface Cost {
  readonly cpuMs: number;
  readonly perSecond: number;
}

export const bench: Bench = {
  name: "registry",
  missing: async () => undefined,
  async run({ quick, progress }) {
    const sizes = quick ? [1_000, 5_000] : [1_000, 100_000];
    const finds = quick ? 500 : 4_000;
    const rows: BenchRow[] = [];
    for (const store of ["memory", "lmdb"] as const) {
      const small = new Map<string, Cost>();
      for (const size of sizes) {
        progress(`${store}, ${size} endpoints`);
        await withRegistry(store, async (registry, endpoints) => {
          await load(endpoints, 2_000, 1_000);
          const registered = await cost(registry, size, (i) => endpoints.register(entry(i), call()));
          rows.push(...costRows(`${store}, ${number(size)} endpoints: Register`, registered));
          for (const [kind, query] of queries) {
            await cost(registry, 200, (i) => find(endpoints, query((i * 7_919) % size)));
            const found = await cost(registry, finds, (i) => find(endpoints, query((i * 7_919) % size)));
            const first = small.get(kind);
            small.set(kind, first ?? found);
            rows.push(...costRows(`${store}, ${number(size)} endpoints: Find by ${kind}`, found, first, sizes[0]));
          }
          const gate = size === 100_000 ? ({ of: "value", atMost: 300 } as const) : undefined;
          rows.push({
            what: `${store}, ${number(size)} endpoints: resident memory`,
            value: residentMiB(registry.pid),
            unit: "MiB",
            ...(gate && { gate }),
          });
        });
      }
    }
    for (const watchers of quick ? [100] : [100, 1_000]) {
      progress(`a change to ${watchers} watchers`);
      rows.push(...(await fanOut(watchers, quick ? 10 : 40)));
    }
    return { name: "registry", title: "Registry", method, rows };
  },
};

const method = `The registry as a process of its own on loopback TCP, ${workers} workers in the generator's process, ${perService} endpoints
per service and ${perUrl} per url. CPU is the user and system time of the registry's process, from /proc, divided by the
operations. The ratio of a Find is that to the same Find with the first number of endpoints. lmdb is the default store: a Register is answered when
it is on the disk. A change is one Register of an endpoint that all watchers (each a stream, on ${connections} connections) watch by name.`;

const queries: readonly [string, (i: number) => NetworkServiceEndpoint][] = [
  ["name", (i) => NetworkServiceEndpoint.fromPartial({ name: nameOf(i) })],
  ["service", (i) => NetworkServiceEndpoint.fromPartial({ network_service_names: [serviceOf(i)] })],
  ["url", (i) => NetworkServiceEndpoint.fromPartial({ url: urlOf(i), network_service_names: [serviceOf(i)] })],
];

const nameOf = (i: number): string => `endpoint-${i}-7c9d5f4b8-x${i % 97}`;
const serviceOf = (i: number): string => `service-${Math.floor(i / perService)}`;
const urlOf = (i: number): string => `tcp://10.${(Math.floor(i / perUrl) >> 8) & 255}.${Math.floor(i / perUrl) & 255}.1:5001`;

function entry(i: number): NetworkServiceEndpoint {
  const service = serviceOf(i);
  return NetworkServiceEndpoint.fromPartial({
    name: nameOf(i),
    network_service_names: [service],
    network_service_labels: { [service]: { labels: { app: `app-${i % 10}`, nodeName: `node-${Math.floor(i / perUrl)}` } } },
    url: urlOf(i),
  });
}

const call = () => ({ signal: new AbortController().signal, deadlineMs: Date.now() + 60_000 });

async function find(endpoints: RemoteRegistry<NetworkServiceEndpoint>, query: NetworkServiceEndpoint): Promise<void> {
  let found = 0;
  for await (const _one of endpoints.find(query, { ...call(), watch: false })) found++;
  if (found === 0) throw new Error(`nothing found for ${JSON.stringify(query)}`);
}

/** Registers entries under names of their own and takes them out again: warm code, an empty registry. */
async function load(endpoints: RemoteRegistry<NetworkServiceEndpoint>, count: number, batch: number): Promise<void> {
  for (let i = 0; i < count; i += batch) {
    const entries = Array.from({ length: batch }, (_, k) => ({ ...entry(i + k), name: `warm-${k}` }));
    await Promise.all(entries.map((one) => endpoints.register(one, call())));
    await Promise.all(entries.map((one) => endpoints.unregister(one, call())));
  }
}

async function cost(registry: Registry, count: number, run: (i: number) => Promise<unknown>): Promise<Cost> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await run(i);
  };
  const [startedMs, startedCpuMs] = [performance.now(), cpuMs(registry.pid)];
  await Promise.all(Array.from({ length: workers }, worker));
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

const number = (value: number): string => value.toLocaleString("en-US");

async function fanOut(count: number, changes: number): Promise<BenchRow[]> {
  return withRegistry("memory", async (registry, endpoints) => {
    const dialers = Array.from({ length: connections }, () => createDialer({ dialTimeoutMs: 5_000 }));
    const ending = new AbortController();
    const latenciesMs: number[] = [];
    let changedMs = 0;
    let heard = 0;
    let wake = (): void => {};
    const watch = async (dialer: Dialer): Promise<void> => {
      const query = NetworkServiceEndpoint.fromPartial({ name: nameOf(0) });
      for await (const _found of dialer.endpointRegistry(registry.url).find(query, { watch: true, signal: ending.signal })) {
        latenciesMs.push(performance.now() - changedMs);
        if (++heard === count) wake();
      }
    };
    const change = async (i: number): Promise<void> => {
      heard = 0;
      const allHeard = new Promise<void>((resolve) => {
        wake = resolve;
      });
      changedMs = performance.now();
      await endpoints.register({ ...entry(0), url: `tcp://10.0.0.1:${i}` }, call());
      await allHeard;
    };
    const open = new Promise<void>((resolve) => {
      wake = resolve;
    });
    await endpoints.register(entry(0), call());
    const watching = dialers.flatMap((dialer) =>
      Array.from({ length: count / dialers.length }, () => watch(dialer).catch(() => {})),
    );
    await open;
    for (let i = 0; i < 5; i++) await change(i);
    latenciesMs.length = 0;
    const startedCpuMs = cpuMs(registry.pid);
    for (let i = 0; i < changes; i++) await change(i);
    const usedMs = cpuMs(registry.pid) - startedCpuMs;
    ending.abort();
    await Promise.all(watching);
    for (const dialer of dialers) dialer.close();
    const what = `a change to ${number(count)} watchers`;
    return [
      { what: `${what}, p50`, value: percentile(latenciesMs, 0.5), unit: "ms" },
      { what: `${what}, p99`, value: percentile(latenciesMs, 0.99), unit: "ms" },
      { what: `${what}, CPU for each event delivered`, value: (usedMs * 1_000) / (changes * count), unit: "µs" },
    ];
  });
}

async function withRegistry<T>(
  store: "memory" | "lmdb",
  run: (registry: Registry, endpoints: RemoteRegistry<NetworkServiceEndpoint>) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "weft-bench-registry-"));
  const dialer = createDialer({ dialTimeoutMs: 5_000 });
  let registry: Registry | undefined;
  try {
    registry = await start(store, folder);
    return await run(registry, dialer.endpointRegistry(registry.url));
  } finally {
    dialer.close();
    await registry?.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function start(store: string, folder: string): Promise<Registry> {
  const flags = [
    "--insecure",
    "--store",
    store,
    "--listen-on",
    "tcp://127.0.0.1:0",
    "--state-dir",
    folder,
    "--expire-period",
    "1h",
  ];
  const child = spawn(process.execPath, [weft, "registry", ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    lines.push(line);
    const url = /"urls":\["([^"]+)"/.exec(line)?.[1];
    if (url === undefined || child.pid === undefined) continue;
    child.stderr.resume();
    return {
      pid: child.pid,
      url,
      async stop() {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
        await exited;
      },
    };
  }
  throw new Error(`the registry did not start:\n${lines.join("\n")}`);
}
