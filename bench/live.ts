/** What a mesh costs that does nothing, and what 1,000 connections cost that only live. */
import { mkdir, rm } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { createDialer } from "../sdk/transport/dial.js";
import type { Target } from "./control-plane-load.js";
import { type Process, startMesh } from "./control-plane-processes.js";
import { buildGoPeer, goPeerName, plainTokenHeaders, startGoMesh } from "./go-peer.js";
import { closeAll, openMany, refreshEach, refreshFor } from "./live-load.js";
import { openDescriptors, residentMiB } from "./process-cost.js";
import type { Bench, BenchOptions, BenchRow } from "./table.js";

const collect = new URL("collect-on-signal.mjs", import.meta.url).pathname;
/** What Go was first measured at: 1,000 connections, refresh at a third of their life. */
const refreshesPerSecond = 8.4;
const rounds = 2;

export const bench: Bench = {
  name: "live",
  missing: async () => undefined,
  async run(options) {
    const folder = `/tmp/weft-bench-live-${process.pid}`;
    const dialer = createDialer({ dialTimeoutMs: 5000 });
    const processes: Process[] = [];
    try {
      await mkdir(folder, { recursive: true });
      const built = await buildGoPeer(folder);
      const program = "program" in built ? built.program : undefined;
      if ("why" in built) options.progress(`without the Go peer: ${built.why}`);
      const idle = await idleRows(folder, program);
      options.progress(`idle: ${idle.map(({ value }) => value.toFixed(0)).join(", ")} MiB`);
      const mesh = await startMesh(folder, processes, { flags: ["--expose-gc", "--import", collect] });
      const ours: Target = { name: "Weft", client: dialer.connections(mesh.url), servers: mesh.servers };
      const go = program === undefined ? undefined : await startGoMesh(program, processes);
      const peer: Target | undefined = go && {
        name: goPeerName,
        client: dialer.connections(go.url),
        servers: go.servers,
        headers: plainTokenHeaders,
      };
      const rows = await liveRows(ours, peer, options);
      const without = "why" in built ? ` Without the Go peer: ${built.why}.` : "";
      return { name: "live", title: "Live connections", method: method + without, rows: [...idle, ...rows] };
    } finally {
      dialer.close();
      for (const started of processes.reverse()) await started.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** As shipped in the images: each component a bundle of its own. */
async function idleRows(folder: string, goProgram: string | undefined): Promise<BenchRow[]> {
  const processes: Process[] = [];
  const programs = `/tmp/w${process.pid}`;
  try {
    const { servers } = await startMesh(`${folder}/idle`, processes, { shipped: programs });
    const go = goProgram === undefined ? [] : (await startGoMesh(goProgram, processes)).servers;
    await pause(3000);
    return servers.map((server): BenchRow => {
      const gated = ["registry", "nsmgr", "forwarder"].includes(server.name);
      const gate = { of: "value", atMost: megabytes(60) } as const;
      const what = `${server.name}, idle: resident memory`;
      const same = go.find(({ name }) => name === server.name);
      return {
        what,
        value: residentMiB(server.pid),
        unit: "MiB",
        ...(same && { peer: { name: goPeerName, value: residentMiB(same.pid) } }),
        ...(gated && { gate }),
      };
    });
  } finally {
    for (const started of processes.reverse()) await started.stop();
    await rm(programs, { recursive: true, force: true });
  }
}

/** What is asked in MB, in MiB. */
const megabytes = (count: number): number => Math.round((count * 1e7) / 2 ** 20) / 10;

interface Held {
  readonly residentMiB: number;
  readonly descriptors: number;
}

async function liveRows(ours: Target, go: Target | undefined, { quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const count = quick ? 100 : 1000;
  // once for the compilers and the heap's usual size; what is measured is the second time
  await closeAll(ours, await openMany(ours, count));
  const before = await held(ours, true);
  const live = await openMany(ours, count);
  const after = await held(ours, true);
  progress(`${count} connections are open`);
  const goBefore = go && (await held(go, false));
  const goLive = go && (await openMany(go, count));
  const goAfter = go && (await held(go, false));
  await refreshEach(ours, live);
  if (go && goLive) await refreshEach(go, goLive);
  const cores: number[] = [];
  const goCores: number[] = [];
  const roundMs = quick ? 2_000 : 15_000;
  for (let round = 0; round < rounds; round++) {
    cores.push(await refreshFor(ours, live, refreshesPerSecond, roundMs));
    if (go && goLive) goCores.push(await refreshFor(go, goLive, refreshesPerSecond, roundMs));
    progress(`steady refresh, cores: ${cores.at(-1)?.toFixed(4)}, ${goPeerName} ${goCores.at(-1)?.toFixed(3)}`);
  }
  await closeAll(ours, live);
  const gone = await held(ours, true);
  const kib = (now: Held, then: Held): number => ((now.residentMiB - then.residentMiB) * 1024) / count;
  const open = (now: Held, then: Held): number => (now.descriptors - then.descriptors) / count;
  const beside = (value: number | undefined) => (value === undefined ? {} : { peer: { name: goPeerName, value } });
  const perConnection = `per live connection, all servers: growth after a forced collection`;
  return [
    {
      what: perConnection,
      value: kib(after, before),
      unit: "KiB",
      ...beside(goBefore && goAfter && kib(goAfter, goBefore)),
      gate: { of: "value", atMost: 40 },
    },
    { what: "the same after they were closed", value: kib(gone, before), unit: "KiB" },
    {
      what: "descriptors per live connection, all servers",
      value: open(after, before),
      unit: "",
      ...beside(goBefore && goAfter && open(goAfter, goBefore)),
    },
    {
      what: `${count} live connections, ${refreshesPerSecond} refreshes a second: CPU`,
      value: mean(cores),
      unit: "cores",
      ...beside(goCores.length > 0 ? mean(goCores) : undefined),
      gate: { of: "value", atMost: 0.03 },
    },
  ];
}

/** Memory and descriptors of all servers; ours collect their garbage first, Go's do it when they like. */
async function held({ servers }: Target, collects: boolean): Promise<Held> {
  for (let round = 0; collects && round < 2; round++) {
    for (const { pid } of servers) process.kill(pid, "SIGHUP");
    await pause(1500);
  }
  const sum = (of: (pid: number) => number): number => servers.reduce((total, { pid }) => total + of(pid), 0);
  return { residentMiB: sum(residentMiB), descriptors: sum(openDescriptors) };
}

const mean = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0) / values.length;

const method = `The same four processes, beside the same made of the Go SDK's chains. Idle: resident memory three seconds after the start, of the
bundles that the images ship, the registry with lmdb (Go: in memory); the goal of 60 MB is 57.2 MiB. Growth: resident memory with 1,000
connections less that before; ours both times after a forced collection and when 1,000 others have been made and closed before, Go's as
they are. Refresh: each connection in turn at a steady pace (1,000 connections of two minutes' life, each refreshed after its 119
seconds), when each has been refreshed once; ours and Go's in turn, 15 seconds each (A B A B). Where the time goes: docs/decisions/0022-idle-and-refresh.md.`;
