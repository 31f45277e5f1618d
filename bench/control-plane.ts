/**
 * What a connection costs the control plane: registry, nsmgr, forwarder (no data plane) and endpoint as processes of their own
 * on unix sockets, under a generator in this process; beside them three bare grpc-js hops under the same generator.
 */
import { rm } from "node:fs/promises";
import type { Connection } from "../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../sdk/gen/networkservice.js";
import { type ConnectionClient, createDialer } from "../sdk/transport/dial.js";
import { type Process, startBareHops, startMesh } from "./control-plane-processes.js";
import { cpuMs, percentile, residentMiB } from "./process-cost.js";
import type { Bench, BenchRow } from "./table.js";

interface Load {
  readonly operation: "cycle" | "refresh";
  readonly clients: number;
  readonly count: number;
}

interface Cost {
  /** Milliseconds of processor time per operation, all servers together. */
  readonly cpuMs: number;
  /** Request latency in milliseconds. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const tokenLifeS = 600;
const deadlineMs = 30_000;

export const bench: Bench = {
  name: "control-plane",
  missing: async () => undefined,
  async run({ quick, progress }) {
    const scale = quick ? 0.05 : 1;
    const loads: Load[] = [
      { operation: "cycle", clients: 1, count: 600 * scale },
      { operation: "cycle", clients: 8, count: 2000 * scale },
      { operation: "cycle", clients: 64, count: 3000 * scale },
      { operation: "refresh", clients: 1, count: 600 * scale },
      { operation: "refresh", clients: 64, count: 3000 * scale },
    ];
    const folder = `/tmp/weft-bench-${process.pid}`;
    const dialer = createDialer({ dialTimeoutMs: 5000 });
    const processes: Process[] = [];
    try {
      progress("starting registry, nsmgr, forwarder, endpoint and three bare hops");
      const mesh = await startMesh(folder, processes);
      const bare = await startBareHops(folder, processes);
      const ours = { client: dialer.connections(mesh.url), servers: mesh.servers };
      const peer = { client: dialer.connections(bare.url), servers: bare.servers };
      const rows: BenchRow[] = [];
      for (const load of [{ operation: "cycle", clients: 8, count: 1500 * scale } as Load, ...loads]) {
        // A B A B: whatever else the machine does falls on both.
        const costs: [Cost, Cost][] = [];
        for (let round = 0; round < 2; round++) {
          costs.push([await measure(load, ours), await measure(load, peer)]);
          progress(`${load.operation}, ${load.clients} clients: ${costs.at(-1)?.[0].cpuMs.toFixed(2)} ms CPU`);
        }
        if (loads.includes(load)) rows.push(...rowsOf(load, mean(costs.map(([a]) => a)), mean(costs.map(([, b]) => b))));
      }
      for (const server of mesh.servers) {
        rows.push({ what: `resident memory of ${server.name} after it`, value: residentMiB(server.pid), unit: "MiB" });
      }
      return { name: "control-plane", title: "Control plane", method, rows };
    } finally {
      dialer.close();
      for (const started of processes.reverse()) await started.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

const method = `One node: registry, nsmgr, forwarder (\`--dataplane none\`) and an endpoint, each a process, on unix sockets and loopback.
A cycle is Request and Close; a refresh is Request again on a live connection. CPU is the user and system time of nsmgr, forwarder,
endpoint and registry together, from /proc, divided by the operations. The peer is three bare grpc-js processes that pass the same
messages on without decoding them, measured in turn with ours (A B A B), warm.`;

function rowsOf(load: Load, ours: Cost, peer: Cost): BenchRow[] {
  const what = `${load.operation === "cycle" ? "Request + Close" : "refresh"}, ${load.clients} client${load.clients > 1 ? "s" : ""}`;
  const name = "three bare hops";
  return [
    { what: `${what}: CPU`, value: ours.cpuMs, unit: "ms", peer: { name, value: peer.cpuMs } },
    { what: `${what}: Request p50`, value: ours.p50Ms, unit: "ms", peer: { name, value: peer.p50Ms } },
    { what: `${what}: Request p99`, value: ours.p99Ms, unit: "ms", peer: { name, value: peer.p99Ms } },
  ];
}

async function measure(load: Load, target: { client: ConnectionClient; servers: readonly Process[] }): Promise<Cost> {
  const live = load.operation === "refresh" ? await openAll(target.client, load.clients) : [];
  const latenciesMs: number[] = [];
  let left = load.count;
  const before = totalCpuMs(target.servers);
  const worker = async (index: number): Promise<void> => {
    let connection = live[index];
    while (left-- > 0) {
      const startedMs = performance.now();
      const answer = await target.client.request(requestFor(connection), call());
      latenciesMs.push(performance.now() - startedMs);
      if (connection === undefined) await target.client.close(answer, call());
      else connection = answer;
    }
  };
  await Promise.all(Array.from({ length: load.clients }, (_, index) => worker(index)));
  const usedMs = totalCpuMs(target.servers) - before;
  for (const connection of live) await target.client.close(connection, call());
  return { cpuMs: usedMs / latenciesMs.length, p50Ms: percentile(latenciesMs, 0.5), p99Ms: percentile(latenciesMs, 0.99) };
}

let made = 0;

function requestFor(live: Connection | undefined): NetworkServiceRequest {
  const expires = { seconds: Math.floor(Date.now() / 1000) + tokenLifeS, nanos: 0 };
  if (live?.path !== undefined) {
    const [first, ...others] = live.path.path_segments;
    const path = { ...live.path, path_segments: first === undefined ? others : [{ ...first, expires }, ...others] };
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

const openAll = (client: ConnectionClient, count: number): Promise<Connection[]> =>
  Promise.all(Array.from({ length: count }, () => client.request(requestFor(undefined), call())));

const call = () => ({ signal: AbortSignal.timeout(deadlineMs), deadlineMs: Date.now() + deadlineMs });

const totalCpuMs = (servers: readonly Process[]): number => servers.reduce((sum, { pid }) => sum + cpuMs(pid), 0);

function mean(costs: readonly Cost[]): Cost {
  const of = (pick: (cost: Cost) => number): number => costs.reduce((sum, cost) => sum + pick(cost), 0) / costs.length;
  return { cpuMs: of((cost) => cost.cpuMs), p50Ms: of((cost) => cost.p50Ms), p99Ms: of((cost) => cost.p99Ms) };
}
