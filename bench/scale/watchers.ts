/** Five thousand watchers, some of which do not read: how long a change takes to the others, and what the slow ones hold. */
import type { Socket } from "node:net";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { cpuMs, percentile, residentMiB } from "../process-cost.js";
import { call, type Endpoints, number } from "../registry-entries.js";
import { type RegistryProcess, startRegistry, withFolder } from "../registry-process.js";
import type { BenchOptions, BenchRow } from "../table.js";
import { doNotRead, type Fast, watchAll } from "./watching.js";

/** One in so many does not read. */
const oneSlowIn = 10;
/** Changes that may wait for one watcher; small, for the default of 4,096 would take long to fill. */
const buffer = 64;
/** Of the entry that only the slow ones hear of, until its changes fill windows, sockets and buffers. */
const bulk = { bytes: 16_000, changes: 600 };
/** What slow watchers may hold in the registry, after a forced collection, in MiB. */
const heldAtMost = 64;

const service = "watched";
const watchedName = "watched-1";

export function watcherRows({ quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const count = quick ? 500 : 5_000;
  return withFolder(async (folder) => {
    const registry = await startRegistry({ store: "memory", folder, env: { WEFT_WATCH_BUFFER: String(buffer) } });
    const dialer = createDialer({ dialTimeoutMs: 5_000 });
    const slow: Socket[] = [];
    try {
      const endpoints = dialer.endpointRegistry(registry.url);
      await endpoints.register(entry(watchedName, 0), call());
      const fast = await watchAll(registry.url, count - count / oneSlowIn, watchedName);
      progress(`${number(fast.count)} watches are open`);
      for (let i = 0; i < 3; i++) await fast.told(() => endpoints.register(entry(watchedName, i + 1), call()));
      const beforeMiB = await registry.collected();
      const rows = await changeRows(`a change to ${number(fast.count)} watchers`, fast, endpoints, registry.pid, quick ? 10 : 30);
      slow.push(...(await doNotRead(registry.url, count / oneSlowIn, service)));
      for (let i = 0; i < bulk.changes; i++) await endpoints.register(entry("bulk", i, bulk.bytes), call());
      progress(`${number(count / oneSlowIn)} slow ones have more than they can hold`);
      const what = `a change to ${number(fast.count)} watchers, beside ${number(count / oneSlowIn)} that do not read`;
      rows.push(...(await changeRows(what, fast, endpoints, registry.pid, quick ? 10 : 30)));
      rows.push(...(await slowRows(registry, count / oneSlowIn, beforeMiB)));
      fast.stop();
      return rows;
    } finally {
      for (const socket of slow) socket.destroy();
      dialer.close();
      await registry.stop();
    }
  });
}

function entry(name: string, i: number, bytes = 0): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({
    name,
    network_service_names: [service],
    network_service_labels: { [service]: { labels: { version: String(i), load: "x".repeat(bytes) } } },
    url: "tcp://10.0.0.1:5001",
  });
}

async function changeRows(what: string, fast: Fast, endpoints: Endpoints, pid: number, changes: number): Promise<BenchRow[]> {
  fast.latenciesMs.length = 0;
  const startedCpuMs = cpuMs(pid);
  for (let i = 0; i < changes; i++) await fast.told(() => endpoints.register(entry(watchedName, 100 + i), call()));
  const usedMs = cpuMs(pid) - startedCpuMs;
  return [
    { what: `${what}, p50`, value: percentile(fast.latenciesMs, 0.5), unit: "ms" },
    { what: `${what}, p99`, value: percentile(fast.latenciesMs, 0.99), unit: "ms" },
    { what: `${what}, CPU for each event delivered`, value: (usedMs * 1_000) / (changes * fast.count), unit: "µs" },
  ];
}

async function slowRows(registry: RegistryProcess, count: number, beforeMiB: number): Promise<BenchRow[]> {
  const dialer = createDialer({ dialTimeoutMs: 5_000 });
  const { facts } = await dialer.inspect(registry.url).getReport({ section: "counters" }, call());
  dialer.close();
  const cut = Number(facts.find(({ name }) => name === "dropped watchers")?.value ?? 0);
  const [peakMiB, afterMiB] = [residentMiB(registry.pid), await registry.collected()];
  const what = `${number(count)} watchers that do not read, ${number(bulk.changes)} changes of ${bulk.bytes / 1000} kB`;
  return [
    { what: `${what}: given up by the registry`, value: cut, unit: "", gate: { of: "value", atLeast: count } },
    { what: `${what}: resident memory`, value: peakMiB, unit: "MiB" },
    {
      what: `${what}: memory above that before they came, both after a forced collection`,
      value: afterMiB - beforeMiB,
      unit: "MiB",
      gate: { of: "value", atMost: heldAtMost },
    },
  ];
}
