/** What a connection costs with mutual TLS, tokens and all policies: ours and the Go SDK's chains under the same generator. */
import { readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { type Authority, createAuthority } from "../sdk/identity/authority.js";
import { startIdentity } from "../sdk/identity/start.js";
import { serveWorkloadApi } from "../sdk/identity/workload-api-server.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { createDialer } from "../sdk/transport/dial.js";
import { type Load, measureLoads, memoryRows, type Target } from "./control-plane-load.js";
import { type Process, startMesh } from "./control-plane-processes.js";
import { buildGoPeer, goPeerName, startGoMesh } from "./go-peer.js";
import type { Bench, BenchOptions, BenchTable } from "./table.js";

const loads: readonly Load[] = [
  { operation: "cycle", clients: 1, gates: { cpuMs: { of: "value", atMost: 8 } } },
  { operation: "cycle", clients: 8, gates: { cpuMs: { of: "value", atMost: 5 }, rate: { of: "value", atLeast: 150 } } },
  { operation: "cycle", clients: 64, gates: { cpuMs: { of: "value", atMost: 5 }, rate: { of: "value", atLeast: 150 } } },
  { operation: "refresh", clients: 1 },
  { operation: "refresh", clients: 64 },
];

const trustDomain = "bench.test";
const hourMs = 3_600_000;

export const bench: Bench = {
  name: "secure",
  missing: async () => undefined,
  async run(options) {
    const folder = `/tmp/weft-bench-secure-${process.pid}`;
    const ending = new AbortController();
    const processes: Process[] = [];
    await mkdir(folder, { recursive: true });
    const authority = await createAuthority(trustDomain, { lifetimeMs: 24 * hourMs });
    const agent = await serveAgent(folder, authority, ending.signal);
    try {
      return await runWith(agent.url, folder, processes, options, ending.signal);
    } finally {
      for (const started of processes.reverse()) await started.stop();
      ending.abort();
      await agent.close();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** Everybody is known by the name it was started with. */
function serveAgent(folder: string, authority: Authority, signal: AbortSignal): ReturnType<typeof serveWorkloadApi> {
  return serveWorkloadApi({
    url: `unix://${folder}/agent.sock`,
    authority,
    lifetimeMs: hourMs,
    idOf: ({ pid }) => `spiffe://${trustDomain}/${pid === process.pid ? "generator" : nameOf(pid)}`,
    log: silentLog,
    signal,
  });
}

function nameOf(pid: number): string {
  const entries = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  return entries.find((entry) => entry.startsWith("NSM_NAME="))?.slice("NSM_NAME=".length) ?? "nobody";
}

async function runWith(
  socket: string,
  folder: string,
  processes: Process[],
  { quick, progress }: BenchOptions,
  signal: AbortSignal,
): Promise<BenchTable> {
  const settings = {
    insecure: false,
    tlsCert: undefined,
    tlsKey: undefined,
    tlsBundle: [],
    caUrl: undefined,
    joinToken: undefined,
  };
  const identity = await startIdentity({ ...settings, spiffeEndpointSocket: socket }, { log: silentLog, signal });
  if (identity === undefined) throw new Error("the Workload API gave no identity");
  const dialer = createDialer({ dialTimeoutMs: 5000, identity });
  try {
    progress("starting registry, nsmgr, forwarder and endpoint, of Weft and of the Go SDK's chains");
    const mesh = await startMesh(folder, processes, { secure: { socket, identity } });
    const targets: [Target, ...Target[]] = [{ name: "Weft", client: dialer.connections(mesh.url), servers: mesh.servers }];
    const built = await buildGoPeer(folder);
    if ("program" in built) {
      const go = await startGoMesh(built.program, processes, { identitySocket: socket });
      targets.push({ name: goPeerName, client: dialer.connections(go.url), servers: go.servers });
    } else progress(`without the Go peer: ${built.why}`);
    const { rows, warmth } = await measureLoads({ targets, loads, roundMs: quick ? 500 : 2000, progress });
    const without = "why" in built ? ` Without the Go peer: ${built.why}.` : "";
    const title = "Control plane with mutual TLS, tokens and policies";
    return { name: "secure", title, method: method + warmth + without, rows: [...rows, ...memoryRows(targets)] };
  } finally {
    dialer.close();
    identity.close();
  }
}

const method = `As the control plane above, with mutual TLS on every socket, a signed token in every call and all built-in policies
in every part, on both sides; one Workload API server of ours gives all of them their SVIDs (EC P-256). The peer is the four parts
made of the Go SDK's public chains with the default policies of the upstream commands, without their tracing, on loopback TCP. CPU time is
compared in the same run (A B A B); it is what to compare, rates and latencies also tell what else the machine did.`;
