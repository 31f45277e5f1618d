/** What a mesh costs that does nothing, and what 1,000 connections cost that only live. */
import { mkdir, rm } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Connection } from "../sdk/gen/connection.js";
import { type ConnectionClient, createDialer } from "../sdk/transport/dial.js";
import { requestFor } from "./control-plane-load.js";
import { type Process, startMesh } from "./control-plane-processes.js";
import { cpuMs, residentMiB } from "./process-cost.js";
import type { Bench, BenchRow } from "./table.js";

const collect = fileURLToPath(new URL("collect-on-signal.mjs", import.meta.url));
const callMs = 30_000;
/** Together under way while they are opened and closed. */
const atOnce = 32;
/** What Go was measured at (reference: 1,000 connections, refresh at a third of their life). */
const refreshesPerSecond = 8.4;

export const bench: Bench = {
  name: "live",
  missing: async () => undefined,
  async run({ quick, progress }) {
    const folder = `/tmp/weft-bench-live-${process.pid}`;
    const dialer = createDialer({ dialTimeoutMs: 5000 });
    const processes: Process[] = [];
    const count = quick ? 100 : 1000;
    try {
      await mkdir(folder, { recursive: true });
      const { url, servers } = await startMesh(folder, processes, { flags: ["--expose-gc", "--import", collect] });
      const client = dialer.connections(url);
      const idle = await idleRows(folder);
      progress(`idle: ${idle.map(({ value }) => value.toFixed(0)).join(", ")} MiB`);
      // once for the compilers and the heap's usual size; what is measured is the second time
      for (const connection of await openMany(client, count)) await client.close(connection, call());
      const before = await collected(servers);
      const live = await openMany(client, count);
      const after = await collected(servers);
      progress(`${count} connections are open`);
      const core = await refreshFor(client, live, servers, quick ? 3_000 : 20_000);
      await closeAll(client, live);
      const gone = await collected(servers);
      return { name: "live", title: "Live connections", method, rows: [...idle, ...rowsOf(count, before, after, gone, core)] };
    } finally {
      dialer.close();
      for (const started of processes.reverse()) await started.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** As shipped in the images: each component a bundle of its own. */
async function idleRows(folder: string): Promise<BenchRow[]> {
  const processes: Process[] = [];
  const programs = `/tmp/w${process.pid}`;
  try {
    const { servers } = await startMesh(`${folder}/idle`, processes, { shipped: programs });
    await pause(3000);
    return servers.map((server): BenchRow => {
      const gated = ["registry", "nsmgr", "forwarder"].includes(server.name);
      const gate = { of: "value", atMost: megabytes(60) } as const;
      const what = `${server.name}, idle: resident memory`;
      return { what, value: residentMiB(server.pid), unit: "MiB", ...(gated && { gate }) };
    });
  } finally {
    for (const started of processes.reverse()) await started.stop();
    await rm(programs, { recursive: true, force: true });
  }
}

/** What is asked in MB, in MiB. */
const megabytes = (count: number): number => Math.round((count * 1e7) / 2 ** 20) / 10;

const call = () => ({ signal: AbortSignal.timeout(callMs), deadlineMs: Date.now() + callMs });

async function openMany(client: ConnectionClient, count: number): Promise<Connection[]> {
  const open: Connection[] = [];
  while (open.length < count) {
    const some = Array.from({ length: Math.min(atOnce, count - open.length) }, () =>
      client.request(requestFor(undefined), call()),
    );
    open.push(...(await Promise.all(some)));
  }
  return open;
}

async function closeAll(client: ConnectionClient, live: readonly Connection[]): Promise<void> {
  for (let at = 0; at < live.length; at += atOnce) {
    await Promise.all(live.slice(at, at + atOnce).map((connection) => client.close(connection, call())));
  }
}

/** Resident memory of each after a forced collection, in MiB. */
async function collected(servers: readonly Process[]): Promise<number[]> {
  for (let round = 0; round < 2; round++) {
    for (const { pid } of servers) process.kill(pid, "SIGHUP");
    await pause(1500);
  }
  return servers.map(({ pid }) => residentMiB(pid));
}

/** Refreshes them in turn at a steady pace; the part of a core that all servers use. */
async function refreshFor(
  client: ConnectionClient,
  live: Connection[],
  servers: readonly Process[],
  ms: number,
): Promise<number> {
  const used = (): number => servers.reduce((sum, { pid }) => sum + cpuMs(pid), 0);
  const before = used();
  const startedMs = performance.now();
  for (let done = 0; performance.now() - startedMs < ms; done++) {
    const index = done % live.length;
    live[index] = await client.request(requestFor(live[index]), call());
    await pause(Math.max(0, startedMs + ((done + 1) * 1000) / refreshesPerSecond - performance.now()));
  }
  return (used() - before) / (performance.now() - startedMs);
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function rowsOf(
  count: number,
  before: readonly number[],
  after: readonly number[],
  gone: readonly number[],
  core: number,
): BenchRow[] {
  const perConnection = ((sum(after) - sum(before)) * 1024) / count;
  const left = ((sum(gone) - sum(before)) * 1024) / count;
  return [
    {
      what: "per live connection, all servers: growth after a forced collection",
      value: perConnection,
      unit: "KiB",
      gate: { of: "value", atMost: 40 },
    },
    { what: "the same after they were closed", value: left, unit: "KiB" },
    {
      what: `${count} live connections, ${refreshesPerSecond} refreshes a second: CPU`,
      value: core,
      unit: "cores",
      gate: { of: "value", atMost: 0.03 },
    },
  ];
}

const method = `The same four processes. Idle: resident memory three seconds after the start, of the bundles that the images ship, the
registry with lmdb. Growth: resident memory with 1,000
connections less that before, both after a forced collection, when 1,000 others have been made and closed before. Refresh: each
connection in turn at a steady pace. The Go parts on a machine like this took 1.4 MiB a connection and 0.48 of a core
(without refreshes lost), measured earlier and not in this run.`;
