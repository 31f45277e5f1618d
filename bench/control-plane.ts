/**
 * What a connection costs the control plane: registry, nsmgr, forwarder (no data plane) and endpoint as processes of their own
 * on unix sockets, under a generator in this process; beside them three bare grpc-js hops and the Go SDK's chains under the
 * same generator.
 */
import { mkdir, rm } from "node:fs/promises";
import { createDialer } from "../sdk/transport/dial.js";
import { type Load, measureLoads, memoryRows, type Target } from "./control-plane-load.js";
import { type Process, startBareHops, startMesh } from "./control-plane-processes.js";
import { buildGoPeer, goPeerName, plainTokenHeaders, startGoMesh } from "./go-peer.js";
import type { Bench } from "./table.js";

const loads: readonly Load[] = [
  { operation: "cycle", clients: 1, gates: { cpuMs: { of: "value", atMost: 5 }, p50Ms: { of: "value", atMost: 4 } } },
  { operation: "cycle", clients: 8, gates: { cpuMs: { of: "value", atMost: 3 } } },
  { operation: "cycle", clients: 64, gates: { cpuMs: { of: "value", atMost: 3 }, p99Ms: { of: "value", atMost: 200 } } },
  { operation: "refresh", clients: 1, gates: { cpuMs: { of: "value", atMost: 2.5 } } },
  { operation: "refresh", clients: 64, gates: { cpuMs: { of: "value", atMost: 1.5 } } },
];

export const bench: Bench = {
  name: "control-plane",
  missing: async () => undefined,
  async run({ quick, progress }) {
    const folder = `/tmp/weft-bench-${process.pid}`;
    const dialer = createDialer({ dialTimeoutMs: 5000 });
    const processes: Process[] = [];
    try {
      await mkdir(folder, { recursive: true });
      progress("starting registry, nsmgr, forwarder, endpoint, three bare hops and the Go SDK's chains");
      const mesh = await startMesh(folder, processes);
      const bare = await startBareHops(folder, processes);
      const targets: [Target, ...Target[]] = [
        { name: "Weft", client: dialer.connections(mesh.url), servers: mesh.servers },
        { name: "three bare hops", client: dialer.connections(bare.url), servers: bare.servers },
      ];
      const built = await buildGoPeer(folder);
      if ("program" in built) {
        const go = await startGoMesh(built.program, processes);
        targets.push({ name: goPeerName, client: dialer.connections(go.url), servers: go.servers, headers: plainTokenHeaders });
      } else progress(`without the Go peer: ${built.why}`);
      const { rows, warmth } = await measureLoads({ targets, loads, roundMs: quick ? 500 : 2000, progress });
      const without = "why" in built ? ` Without the Go peer: ${built.why}.` : "";
      return {
        name: "control-plane",
        title: "Control plane",
        method: method + warmth + without,
        rows: [...rows, ...memoryRows(targets)],
      };
    } finally {
      dialer.close();
      for (const started of processes.reverse()) await started.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

const method = `One node: registry, nsmgr, forwarder (\`--dataplane none\`) and an endpoint, each a process, on unix sockets and loopback,
without identity (the Go peer on loopback TCP throughout). A cycle is Request and Close; a refresh is Request again on a live connection. CPU is the user and system time of
nsmgr, forwarder, endpoint and registry together, from /proc, divided by the operations. Peers: the same four parts made of the Go
SDK's public chains (test/interop/go, exact versions), and three bare grpc-js processes that pass the same messages on without
decoding them, the floor of any design on grpc-js. All run at once and are loaded in turn by the same generator (A B C A B C, rounds of a
few seconds). CPU time is what to compare: rates and latencies also tell what else the machine did.`;
