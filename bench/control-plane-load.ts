/** The load of the control-plane benches: Requests, Closes and refreshes for a time, against several meshes in turn. */
import type { Connection } from "../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../sdk/gen/networkservice.js";
import type { CallOptions } from "../sdk/transport/call.js";
import type { ConnectionClient } from "../sdk/transport/dial.js";
import type { Process } from "./control-plane-processes.js";
import { cpuMs, percentile, residentMiB } from "./process-cost.js";
import type { BenchRow } from "./table.js";

export interface Load {
  readonly operation: "cycle" | "refresh";
  readonly clients: number;
  /** What is asked of ours under this load, by figure. */
  readonly gates?: Partial<Record<Figure, BenchRow["gate"]>>;
}

/** Where requests go, and the processes that work for them. */
export interface Target {
  /** "Weft" or the peer's name. */
  readonly name: string;
  readonly client: ConnectionClient;
  readonly servers: readonly Process[];
  /** Headers of every call; absent = those of the client. */
  readonly headers?: (() => Readonly<Record<string, string>>) | undefined;
}

type Figure = "cpuMs" | "p50Ms" | "p99Ms" | "p999Ms" | "rate";
type Cost = Readonly<Record<Figure, number>> & { /** CPU per operation, by process. */ readonly each: readonly number[] };
type Round = Cost & { readonly count: number };

export interface LoadOptions {
  /** Ours first; each peer gets its own row for CPU, the last one stands beside the other figures. */
  readonly targets: readonly [Target, ...Target[]];
  readonly loads: readonly Load[];
  /** Length of one round, in milliseconds; there are `rounds` of each load on each target. */
  readonly roundMs: number;
  readonly progress: (text: string) => void;
}

const rounds = 2;
const tokenLifeMs = 600_000;
const deadlineMs = 15_000;
/** Failures in one round that are not its end. */
const maxFailed = 20;
/** Operations until the compilers have settled, and the longest time for them, which a busy machine exceeds. */
const warmUp = { count: 2000, rounds: 6 };

export interface Measured {
  readonly rows: BenchRow[];
  /** How warm the servers were, in words. */
  readonly warmth: string;
}

/** Warms up, then measures A B A B: whatever else the machine does falls on all. */
export async function measureLoads({ targets, loads, roundMs, progress }: LoadOptions): Promise<Measured> {
  const warmed: string[] = [];
  for (const target of targets) {
    const { count } = await measure({ operation: "cycle", clients: 16 }, target, warmUp.rounds * roundMs, warmUp.count);
    warmed.push(`${target.name} ${count}`);
  }
  const rows: BenchRow[] = [];
  for (const load of loads) {
    const costs = targets.map((): Cost[] => []);
    for (let round = 0; round < rounds; round++) {
      for (const [index, target] of targets.entries()) {
        try {
          costs[index]?.push(await measure(load, target, roundMs));
        } catch (error) {
          // ours has to hold; a peer that does not has no figure here
          if (index === 0) throw error;
          progress(`${target.name} fails with ${load.clients} clients: ${String(error)}`);
        }
      }
    }
    const means = costs.map(mean);
    const told = targets.map(({ name }, index) => `${name} ${means[index]?.cpuMs.toFixed(2)}`);
    progress(`${load.operation}, ${load.clients} clients, ms CPU: ${told.join(", ")}`);
    rows.push(...rowsOf(load, targets, means));
  }
  return {
    rows,
    warmth: ` Cycles before the first round: ${warmed.join(", ")}; ${warmUp.count} if there is time.`,
  };
}

/** Resident memory of all processes of each target, after the load. */
export function memoryRows([ours, ...peers]: LoadOptions["targets"]): BenchRow[] {
  const sum = ({ servers }: Target): number => servers.reduce((total, { pid }) => total + residentMiB(pid), 0);
  const each = ours.servers.map(({ name, pid }) => ({
    what: `resident memory of ${name} afterwards`,
    value: residentMiB(pid),
    unit: "MiB",
  }));
  const all = peers.map((peer) => ({
    what: "resident memory of all servers afterwards",
    value: sum(ours),
    unit: "MiB",
    peer: { name: peer.name, value: sum(peer) },
  }));
  return [...each, ...all];
}

const figures: readonly { readonly figure: Figure; readonly text: string; readonly unit: string }[] = [
  { figure: "cpuMs", text: "CPU", unit: "ms" },
  { figure: "rate", text: "rate", unit: "/s" },
  { figure: "p50Ms", text: "Request p50", unit: "ms" },
  { figure: "p99Ms", text: "Request p99", unit: "ms" },
  { figure: "p999Ms", text: "Request p99.9", unit: "ms" },
];

function rowsOf(load: Load, targets: readonly Target[], means: readonly Cost[]): BenchRow[] {
  const operation = load.operation === "cycle" ? "Request + Close" : "refresh";
  const clients = `${load.clients} client${load.clients > 1 ? "s" : ""}`;
  const last = targets.length - 1;
  const rows = figures.flatMap(({ figure, text, unit }) => {
    // every peer is compared by CPU, the last by all
    const peers = figure === "cpuMs" && last > 0 ? targets.map((_, index) => index).slice(1) : [last];
    return peers.map((index, position): BenchRow => {
      const gate = position === peers.length - 1 ? load.gates?.[figure] : undefined;
      return {
        what: `${operation}, ${clients}: ${text}`,
        value: means[0]?.[figure] ?? 0,
        unit,
        ...(index > 0 &&
          Number.isFinite(means[index]?.cpuMs) && {
            peer: { name: targets[index]?.name ?? "", value: means[index]?.[figure] ?? 0 },
          }),
        ...(gate !== undefined && { gate }),
      };
    });
  });
  const other = targets[last];
  const byProcess = (targets[0]?.servers ?? []).map(({ name }, index): BenchRow => {
    const same = last === 0 ? -1 : (other?.servers.findIndex((server) => server.name === name) ?? -1);
    const value = means[last]?.each[same];
    return {
      what: `${operation}, ${clients}: CPU of ${name}`,
      value: means[0]?.each[index] ?? 0,
      unit: "ms",
      ...(value !== undefined && Number.isFinite(value) && { peer: { name: other?.name ?? "", value } }),
    };
  });
  return [...rows, ...byProcess];
}

async function measure(load: Load, target: Target, roundMs: number, count = Number.POSITIVE_INFINITY): Promise<Round> {
  const { client, servers } = target;
  const live = load.operation === "refresh" ? await openAll(target, load.clients) : [];
  const latenciesMs: number[] = [];
  let failed = 0;
  const before = servers.map(({ pid }) => cpuMs(pid));
  const startedMs = performance.now();
  const worker = async (index: number): Promise<void> => {
    let connection = live[index];
    while (performance.now() - startedMs < roundMs && latenciesMs.length < count) {
      try {
        const askedMs = performance.now();
        const answer = await client.request(requestFor(connection), call(target));
        latenciesMs.push(performance.now() - askedMs);
        if (connection === undefined) await client.close(answer, call(target));
        else connection = answer;
      } catch (error) {
        // a peer that refuses now and then is still measured
        if (++failed > maxFailed) throw error;
      }
    }
    live[index] = connection ?? (live[index] as Connection);
  };
  await Promise.all(Array.from({ length: load.clients }, (_, index) => worker(index)));
  const tookMs = performance.now() - startedMs;
  const usedMs = servers.map(({ pid }, index) => cpuMs(pid) - (before[index] ?? 0));
  if (load.operation === "refresh") for (const connection of live) await client.close(connection, call(target));
  return {
    count: latenciesMs.length,
    cpuMs: sum(usedMs) / latenciesMs.length,
    each: usedMs.map((ms) => ms / latenciesMs.length),
    rate: (latenciesMs.length * 1000) / tookMs,
    p50Ms: percentile(latenciesMs, 0.5),
    p99Ms: percentile(latenciesMs, 0.99),
    p999Ms: percentile(latenciesMs, 0.999),
  };
}

let made = 0;

export function requestFor(live: Connection | undefined): NetworkServiceRequest {
  const endMs = Date.now() + tokenLifeMs;
  const expires = { seconds: Math.floor(endMs / 1000), nanos: 0 };
  if (live?.path !== undefined) {
    const [first, ...others] = live.path.path_segments;
    const path = { index: 0, path_segments: first === undefined ? others : [{ ...first, expires }, ...others] };
    return NetworkServiceRequest.fromPartial({ connection: { ...live, path } });
  }
  const id = `bench-${process.pid}-${made++}`;
  return NetworkServiceRequest.fromPartial({
    connection: {
      id,
      network_service: "bench",
      payload: "ETHERNET",
      path: { index: 0, path_segments: [{ name: "bench", id, expires }] },
    },
    mechanism_preferences: [
      { cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: "file:///proc/thread-self/ns/net", name: "nsm-1" } },
    ],
  });
}

const openAll = (target: Target, count: number): Promise<Connection[]> =>
  Promise.all(Array.from({ length: count }, () => target.client.request(requestFor(undefined), call(target))));

const call = ({ headers }: Target): CallOptions => ({
  signal: AbortSignal.timeout(deadlineMs),
  deadlineMs: Date.now() + deadlineMs,
  ...(headers !== undefined && { metadata: headers() }),
});

export const totalCpuMs = (servers: readonly Process[]): number => servers.reduce((sum, { pid }) => sum + cpuMs(pid), 0);

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function mean(costs: readonly Cost[]): Cost {
  const of = (figure: Figure): number => costs.reduce((sum, cost) => sum + cost[figure], 0) / costs.length;
  const each = (costs[0]?.each ?? []).map((_, index) => sum(costs.map((cost) => cost.each[index] ?? 0)) / costs.length);
  return { each, cpuMs: of("cpuMs"), rate: of("rate"), p50Ms: of("p50Ms"), p99Ms: of("p99Ms"), p999Ms: of("p999Ms") };
}
