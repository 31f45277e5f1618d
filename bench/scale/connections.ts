/** Ten thousand connections on one node: what one costs to make, to hold and to close, and what is left of all of them. */
import { readdirSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Connection, MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { type ConnectionClient, createDialer } from "../../sdk/transport/dial.js";
import { requestFor } from "../control-plane-load.js";
import { type Process, startMesh } from "../control-plane-processes.js";
import { cpuMs, residentMiB } from "../process-cost.js";
import { inParallel, number } from "../registry-entries.js";
import type { BenchOptions, BenchRow } from "../table.js";

const collect = fileURLToPath(new URL("../collect-on-signal.mjs", import.meta.url));
const callMs = 60_000;
const atOnce = 64;
const patienceMs = 60_000;

export async function connectionRows({ quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const count = quick ? 500 : 10_000;
  const folder = `/tmp/weft-bench-scale-${process.pid}`;
  const dialer = createDialer({ dialTimeoutMs: 5_000 });
  const processes: Process[] = [];
  try {
    await mkdir(folder, { recursive: true });
    const { url, servers } = await startMesh(folder, processes, { flags: ["--expose-gc", "--import", collect] });
    const client = dialer.connections(url);
    const live = (): Promise<number> => watched(dialer.monitor(url, MonitorScopeSelector.fromPartial({}), call().signal));
    progress("warming up");
    // as many as will be measured: compilers and heaps have their usual size then
    await close(client, await open(client, count));
    const before = await stateOf(servers);
    progress(`opening ${number(count)} connections`);
    const opening = started(servers);
    const connections = await open(client, count);
    const opened = opening();
    const after = await stateOf(servers);
    const seen = await live();
    progress(`${number(seen)} are live; closing`);
    const closing = started(servers);
    await close(client, connections);
    const closed = closing();
    await until("the monitor shows none", async () => (await live()) === 0);
    return rowsOf({ count, seen, opened, closed, before, after, gone: await stateOf(servers) });
  } finally {
    dialer.close();
    for (const process of processes.reverse()) await process.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const call = () => ({ signal: AbortSignal.timeout(callMs), deadlineMs: Date.now() + callMs });

async function open(client: ConnectionClient, count: number): Promise<Connection[]> {
  const made: Connection[] = [];
  await inParallel(count, atOnce, async () => void made.push(await client.request(requestFor(undefined), call())));
  return made;
}

async function close(client: ConnectionClient, connections: readonly Connection[]): Promise<void> {
  await inParallel(connections.length, atOnce, async (i) => {
    const connection = connections[i];
    if (connection !== undefined) await client.close(connection, call());
  });
}

/** Connections that a monitor tells of before it is silent. */
async function watched(events: ReturnType<ReturnType<typeof createDialer>["monitor"]>): Promise<number> {
  const ids = new Set<string>();
  const iterator = events[Symbol.asyncIterator]();
  for (;;) {
    const silence = new Promise<undefined>((resolve) => void setTimeout(() => resolve(undefined), 1_000));
    const next = await Promise.race([iterator.next(), silence]);
    if (next === undefined || next.done) break;
    for (const id of Object.keys(next.value.connections)) ids.add(id);
  }
  void iterator.return?.();
  return ids.size;
}

interface Cost {
  readonly cpuMs: number;
  readonly ms: number;
}

/** @returns what it has cost since */
function started(servers: readonly Process[]): () => Cost {
  const used = (): number => servers.reduce((total, { pid }) => total + cpuMs(pid), 0);
  const [fromMs, fromCpuMs] = [performance.now(), used()];
  return () => ({ cpuMs: used() - fromCpuMs, ms: performance.now() - fromMs });
}

interface State {
  readonly residentMiB: number;
  readonly descriptors: number;
}

/** Of all servers, after a forced collection. */
async function stateOf(servers: readonly Process[]): Promise<State> {
  for (let round = 0; round < 2; round++) {
    for (const { pid } of servers) process.kill(pid, "SIGHUP");
    await pause(2_000);
  }
  const sum = (of: (pid: number) => number): number => servers.reduce((total, { pid }) => total + of(pid), 0);
  return { residentMiB: sum(residentMiB), descriptors: sum((pid) => readdirSync(`/proc/${pid}/fd`).length) };
}

interface Measured {
  readonly count: number;
  /** What the monitor told of. */
  readonly seen: number;
  readonly opened: Cost;
  readonly closed: Cost;
  readonly before: State;
  readonly after: State;
  readonly gone: State;
}

function rowsOf({ count, seen, opened, closed, before, after, gone }: Measured): BenchRow[] {
  const what = `${number(count)} connections on one node`;
  const perConnection = ((after.residentMiB - before.residentMiB) * 1024) / count;
  const left = ((gone.residentMiB - before.residentMiB) * 1024) / count;
  return [
    { what: `${what}: Request, ${atOnce} at once, CPU`, value: opened.cpuMs / count, unit: "ms" },
    { what: `${what}: Request, ${atOnce} at once, rate`, value: (count * 1_000) / opened.ms, unit: "/s" },
    { what: `${what}: missing in the monitor`, value: count - seen, unit: "", gate: { of: "value", atMost: 0 } },
    {
      what: `${what}: growth for each, all servers`,
      value: perConnection,
      unit: "KiB",
      gate: { of: "value", atMost: 40 },
    },
    { what: `${what}: descriptors more, all servers`, value: after.descriptors - before.descriptors, unit: "" },
    { what: `${what}: Close, ${atOnce} at once, CPU`, value: closed.cpuMs / count, unit: "ms" },
    { what: `${what}, closed: growth for each`, value: left, unit: "KiB", gate: { of: "value", atMost: 4 } },
    {
      what: `${what}, closed: descriptors more`,
      value: gone.descriptors - before.descriptors,
      unit: "",
      gate: { of: "value", atMost: 8 },
    },
  ];
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: string, met: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + patienceMs; !(await met()); await pause(100)) {
    if (performance.now() > endMs) throw new Error(`not within ${patienceMs} ms: ${what}`);
  }
}
