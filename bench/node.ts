/** `weft node`, and two nodes: what the shape of a mesh does to the cost of a connection. */
import { mkdir, rm } from "node:fs/promises";
import { createDialer } from "../sdk/transport/dial.js";
import { type Load, measureLoads, memoryRows, type Target } from "./control-plane-load.js";
import { type MeshOptions, type Process, startMesh } from "./control-plane-processes.js";
import { buildGoPeer, goPeerName, plainTokenHeaders, startGoMesh } from "./go-peer.js";
import type { Bench, BenchOptions, BenchTable } from "./table.js";

const joinedLoads: readonly Load[] = [
  { operation: "cycle", clients: 1, gates: { cpuMs: { of: "value", atMost: 3.5 } } },
  { operation: "cycle", clients: 8, gates: { cpuMs: { of: "value", atMost: 2 } } },
  { operation: "cycle", clients: 64, gates: { cpuMs: { of: "value", atMost: 2 } } },
  { operation: "refresh", clients: 1, gates: { cpuMs: { of: "value", atMost: 2.5 } } },
  { operation: "refresh", clients: 64, gates: { cpuMs: { of: "value", atMost: 1.5 } } },
];

const remoteLoads: readonly Load[] = [
  { operation: "cycle", clients: 1, gates: { p50Ms: { of: "value", atMost: 9 } } },
  { operation: "cycle", clients: 8 },
];

export const joinedBench: Bench = {
  name: "node",
  missing: async () => undefined,
  run: (options) =>
    withMeshes(options, async (start, folder, processes) => {
      const ours = await start("node", { joined: true }, "weft node");
      const apart = await start("apart", {}, "nsmgr and forwarder apart");
      const targets: [Target, ...Target[]] = [ours, apart];
      const without = await addGoPeer(targets, { nodes: 1, start, folder, processes, progress: options.progress });
      const roundMs = options.quick ? 500 : 2000;
      const { rows, warmth } = await measureLoads({ targets, loads: joinedLoads, roundMs, progress: options.progress });
      const title = "Control plane, manager and forwarder in one process";
      return { name: "node", title, method: joinedMethod + warmth + without, rows: [...rows, ...memoryRows(targets)] };
    }),
};

export const remoteBench: Bench = {
  name: "two-nodes",
  missing: async () => undefined,
  run: (options) =>
    withMeshes(options, async (start, folder, processes) => {
      const ours = await start("apart", { twoNodes: true }, "Weft");
      const joined = await start("joined", { twoNodes: true, joined: true }, "two times weft node");
      const targets: [Target, ...Target[]] = [ours, joined];
      const without = await addGoPeer(targets, { nodes: 2, start, folder, processes, progress: options.progress });
      const roundMs = options.quick ? 500 : 2000;
      const { rows, warmth } = await measureLoads({ targets, loads: remoteLoads, roundMs, progress: options.progress });
      return { name: "two-nodes", title: "Control plane, two nodes", method: remoteMethod + warmth + without, rows };
    }),
};

/** The last of the peers. @returns why there is none, in words for the method */
async function addGoPeer(
  targets: Target[],
  options: Pick<BenchOptions, "progress"> & {
    readonly nodes: 1 | 2;
    readonly start: Start;
    readonly folder: string;
    readonly processes: Process[];
  },
): Promise<string> {
  const { nodes, start, folder, processes, progress } = options;
  const built = await buildGoPeer(folder);
  if ("why" in built) {
    progress(`without the Go peer: ${built.why}`);
    return ` Without the Go peer: ${built.why}.`;
  }
  const { url, servers } = await startGoMesh(built.program, processes, { nodes });
  targets.push({ name: goPeerName, client: start.client(url), servers, headers: plainTokenHeaders });
  return "";
}

interface Start {
  (name: string, mesh: MeshOptions, shown: string): Promise<Target>;
  client(url: string): Target["client"];
}

async function withMeshes(
  { progress }: BenchOptions,
  measure: (start: Start, folder: string, processes: Process[]) => Promise<BenchTable>,
): Promise<BenchTable> {
  const folder = `/tmp/weft-bench-node-${process.pid}`;
  const dialer = createDialer({ dialTimeoutMs: 5000 });
  const processes: Process[] = [];
  const start = async (name: string, mesh: MeshOptions, shown: string): Promise<Target> => {
    progress(`starting ${shown}`);
    const { url, servers } = await startMesh(`${folder}/${name}`, processes, mesh);
    return { name: shown, client: dialer.connections(url), servers };
  };
  try {
    await mkdir(folder, { recursive: true });
    return await measure(Object.assign(start, { client: dialer.connections }), folder, processes);
  } finally {
    dialer.close();
    for (const started of processes.reverse()) await started.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

const joinedMethod = `As the control plane above, with \`weft node\` in place of nsmgr and forwarder. The peers are the same parts apart, and
those of the Go SDK.`;
const remoteMethod = `Client on one node, endpoint on the other: two managers and two forwarders, six hops, on loopback. The peers are the same
with \`weft node\` on each node, and the same parts of the Go SDK, all on loopback TCP.`;
