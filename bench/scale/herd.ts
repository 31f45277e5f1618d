/** A thousand managers on one registry: what a refresh costs, and how they come back when the registry was killed. */
import { createServer } from "node:net";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { cpuMs, residentMiB } from "../process-cost.js";
import { call, number } from "../registry-entries.js";
import { type RegistryProcess, startRegistry, withFolder } from "../registry-process.js";
import type { BenchOptions, BenchRow } from "../table.js";
import { type Managers, startManagers } from "./managers.js";

/** Short, so that there is something to measure in a minute: a refresh comes after two thirds of it. */
export const expirePeriod = "15s";
/** How long the registry is away: pauses between tries have grown to their longest by then. */
export const awayMs = 4_000;
const patienceMs = 120_000;
/** In which arrivals are counted. */
const bucketMs = 100;

export function herdRows({ quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const count = quick ? 100 : 1_000;
  return withFolder(async (folder) => {
    // what the herd brings back is all that there is
    const options = { store: "memory", folder, expirePeriod, listenOn: `tcp://127.0.0.1:${await quietPort()}` } as const;
    let registry = await startRegistry(options);
    let managers: Managers | undefined;
    try {
      progress(`${number(count)} managers come`);
      managers = await startManagers(count, registry.url);
      await until("their watches are open", () => managers?.open === managers?.watches);
      const what = `${number(count)} managers, ${number(managers.entries)} entries, ${number(managers.watches)} watches`;
      const rows: BenchRow[] = [{ what: `${what}: resident memory`, value: residentMiB(registry.pid), unit: "MiB" }];
      rows.push(...(await refreshRows(what, registry, managers, quick ? 12_000 : 30_000)));
      progress("the registry is killed");
      await registry.kill();
      managers.forget();
      await pause(awayMs);
      const awayKnocks = managers.knocks.length;
      registry = await startRegistry(options);
      const back = await comeBack(registry, managers, performance.now());
      progress(`all are back after ${back.lastMs.toFixed(0)} ms`);
      return [...rows, ...herdOf(count, back, awayKnocks)];
    } finally {
      await managers?.stop();
      await registry.stop();
    }
  });
}

async function refreshRows(what: string, { pid }: RegistryProcess, managers: Managers, ms: number): Promise<BenchRow[]> {
  managers.forget();
  const [startedMs, startedCpuMs] = [performance.now(), cpuMs(pid)];
  await pause(ms);
  const refreshes = managers.registered.length;
  const usedMs = cpuMs(pid) - startedCpuMs;
  const perSecond = (refreshes * 1000) / (performance.now() - startedMs);
  return [
    { what: `${what}: refreshes, with a lease of ${expirePeriod}`, value: perSecond, unit: "/s" },
    { what: `${what}: CPU for each refresh, all else included`, value: usedMs / refreshes, unit: "ms" },
  ];
}

interface Back {
  /** Since the registry answered, in milliseconds. */
  readonly lastMs: number;
  readonly allRegisteredMs: number;
  /** Registers answered per bucket. */
  readonly perBucket: readonly number[];
  readonly lost: number;
  readonly usedMs: number;
}

/** Waits until every entry and every watch is there again. */
async function comeBack({ pid, url }: RegistryProcess, managers: Managers, upMs: number): Promise<Back> {
  await until("every entry is registered again", () => managers.names.size === managers.entries);
  const allRegisteredMs = performance.now() - upMs;
  await until("every watch is open again", () => managers.open === managers.watches);
  const lastMs = performance.now() - upMs;
  const perBucket: number[] = [];
  for (const atMs of managers.registered) {
    const bucket = Math.max(0, Math.floor((atMs - upMs) / bucketMs));
    perBucket[bucket] = (perBucket[bucket] ?? 0) + 1;
  }
  const dialer = createDialer({ dialTimeoutMs: 5_000 });
  let found = 0;
  const everything = NetworkServiceEndpoint.fromPartial({});
  for await (const _one of dialer.endpointRegistry(url).find(everything, { ...call(), watch: false })) found++;
  dialer.close();
  return { lastMs, allRegisteredMs, perBucket, lost: managers.entries - found, usedMs: cpuMs(pid) };
}

function herdOf(count: number, { lastMs, allRegisteredMs, perBucket, lost, usedMs }: Back, awayKnocks: number): BenchRow[] {
  const what = `registry killed -9 under ${number(count)} managers, away for ${awayMs / 1000} s`;
  const sum = perBucket.reduce((total, value) => total + (value ?? 0), 0);
  const peak = perBucket.reduce((most, value) => Math.max(most, value ?? 0), 0);
  return [
    { what: `${what}: tries while it was away`, value: (awayKnocks * 1000) / awayMs, unit: "/s" },
    { what: `${what}: until all entries are registered again`, value: allRegisteredMs, unit: "ms" },
    { what: `${what}: until all watches are open again`, value: lastMs, unit: "ms" },
    { what: `${what}: most Registers in ${bucketMs} ms, part of all`, value: (peak * 100) / sum, unit: "%" },
    { what: `${what}: registry's CPU until then, its start included`, value: usedMs, unit: "ms" },
    { what: `${what}: entries lost`, value: lost, unit: "", gate: { of: "value", atMost: 0 } },
  ];
}

/**
 * A port that nobody gets by chance: a client that dials a port of the range from which sockets are numbered may reach itself
 * while the server is away.
 */
async function quietPort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: string, met: () => boolean): Promise<void> {
  for (const endMs = performance.now() + patienceMs; !met(); await pause(10)) {
    if (performance.now() > endMs) throw new Error(`not within ${patienceMs} ms: ${what}`);
  }
}
