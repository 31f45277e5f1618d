/** The registry of the Go SDK beside ours, both in memory: Find among many endpoints, memory, and a change to many watchers. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { createDialer, type Dialer } from "../sdk/transport/dial.js";
import { freePort } from "./control-plane-processes.js";
import { buildGoPeer, goPeerName, plainTokenHeaders, withoutTraces } from "./go-peer.js";
import { cpuMs, percentile, residentMiB } from "./process-cost.js";
import { call, type Endpoints, entry, find, inParallel, nameOf, number, queries, warmUp } from "./registry-entries.js";
import { startRegistry, withFolder } from "./registry-process.js";
import { type Fast, watchAll } from "./scale/watching.js";
import type { BenchOptions, BenchRow } from "./table.js";

const workers = 8;
const rounds = 3;
const startTimeoutMs = 30_000;
/**
 * The peer takes the deadline of a Register from the life of the endpoint: with its usual minute and the minute that calls have
 * here it would forget each endpoint at once.
 */
const life = { flags: ["--expire-period=1h", "--lifetime=1h"], ms: 3_600_000 };

interface Side {
  readonly pid: number;
  readonly url: string;
  readonly endpoints: Endpoints;
  /** Finds in a round: the peer looks at everything for each. */
  readonly finds: number;
  readonly as: (endpoints: Endpoints) => Endpoints;
  stop(): Promise<void>;
}

const asIs = (endpoints: Endpoints): Endpoints => endpoints;

/** With the headers that a Go server demands. */
const asGoWants = (endpoints: Endpoints): Endpoints => ({
  register: (one, options) => endpoints.register(one, { ...options, metadata: plainTokenHeaders(life.ms) }),
  unregister: (one, options) => endpoints.unregister(one, { ...options, metadata: plainTokenHeaders(life.ms) }),
  find: (query, options) => endpoints.find(query, { ...options, metadata: plainTokenHeaders(life.ms) }),
});

export function goRows({ quick, progress }: BenchOptions): Promise<BenchRow[]> {
  return withFolder(async (folder) => {
    const dialer = createDialer({ dialTimeoutMs: 5_000 });
    const sides: Side[] = [await ourSide(folder, dialer, quick ? 50 : 800)];
    try {
      const built = await buildGoPeer(folder);
      if ("why" in built) progress(`without the Go peer: ${built.why}`);
      else sides.push(await goSide(built.program, dialer, quick ? 5 : 20));
      const rows: BenchRow[] = [];
      for (const count of quick ? [100] : [100, 1_000]) rows.push(...(await fanOutRows(sides, count, quick ? 10 : 20, progress)));
      const size = quick ? 2_000 : 100_000;
      for (const { endpoints } of sides) {
        progress(`registering ${number(size)} endpoints`);
        await inParallel(size, workers, (i) => endpoints.register(entry(i), call()));
      }
      return [...rows, ...(await findRows(sides, size, progress))];
    } finally {
      dialer.close();
      for (const side of sides) await side.stop();
    }
  });
}

async function ourSide(folder: string, dialer: Dialer, finds: number): Promise<Side> {
  const { pid, url, stop } = await startRegistry({ store: "memory", folder });
  const endpoints = dialer.endpointRegistry(url);
  await warmUp(endpoints);
  return { pid, url, endpoints, finds, as: asIs, stop };
}

async function goSide(program: string, dialer: Dialer, finds: number): Promise<Side> {
  const url = `tcp://127.0.0.1:${await freePort()}`;
  const env = { ...process.env, NSM_NAME: "go-registry", ...withoutTraces };
  const child = spawn(program, ["registry", "--name=go-registry", `--listen=${url}`, ...life.flags], {
    env,
    stdio: ["pipe", "pipe", "ignore"],
  });
  const exited = once(child, "exit");
  const signal = AbortSignal.timeout(startTimeoutMs);
  const [line] = await once(createInterface({ input: child.stdout }), "line", { signal });
  if (!String(line).includes("ready") || child.pid === undefined) throw new Error(`the Go registry did not start: ${line}`);
  const endpoints = asGoWants(dialer.endpointRegistry(url));
  await warmUp(endpoints);
  return {
    pid: child.pid,
    url,
    endpoints,
    finds,
    as: asGoWants,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** Finds on both in turn (A B A B). */
async function findRows(sides: readonly Side[], size: number, progress: (text: string) => void): Promise<BenchRow[]> {
  const [memory, peerMemory] = sides.map(({ pid }) => residentMiB(pid));
  const gate = size === 100_000 ? ({ of: "value", atMost: 300 } as const) : undefined;
  const rows = [row({ what: `beside Go, ${number(size)} endpoints: resident memory`, unit: "MiB", gate }, memory, peerMemory)];
  for (const [kind, query] of queries.slice(0, 2)) {
    const costs = sides.map(() => 0);
    for (let round = 0; round <= rounds; round++) {
      for (const [index, { pid, endpoints, finds }] of sides.entries()) {
        const startedCpuMs = cpuMs(pid);
        await inParallel(finds, workers, (i) => find(endpoints, query((i * 7_919 + round) % size)));
        // the first round warms up
        if (round > 0) costs[index] = (costs[index] ?? 0) + (cpuMs(pid) - startedCpuMs) / finds / rounds;
      }
    }
    progress(`find by ${kind}: ${costs.map((cost) => cost.toFixed(3)).join(" and ")} ms CPU`);
    rows.push(row({ what: `beside Go, ${number(size)} endpoints: Find by ${kind}, CPU`, unit: "ms" }, costs[0], costs[1]));
  }
  return rows;
}

/** Changes on both in turn (A B A B). */
async function fanOutRows(
  sides: readonly Side[],
  count: number,
  changes: number,
  progress: (text: string) => void,
): Promise<BenchRow[]> {
  const fans: Fast[] = [];
  for (const { url, endpoints, as } of sides) {
    await endpoints.register(entry(0), call());
    fans.push(await watchAll(url, count, nameOf(0), as));
  }
  const costs = sides.map(() => 0);
  for (let round = 0; round <= rounds; round++) {
    for (const [index, { pid, endpoints }] of sides.entries()) {
      const fan = fans[index];
      const startedCpuMs = cpuMs(pid);
      for (let i = 0; i < changes; i++) {
        await fan?.told(() => endpoints.register({ ...entry(0), url: `tcp://10.0.${round}.1:${i + 1}` }, call()));
      }
      if (round > 0) costs[index] = (costs[index] ?? 0) + ((cpuMs(pid) - startedCpuMs) * 1_000) / (changes * count * rounds);
      else if (fan !== undefined) fan.latenciesMs.length = 0;
    }
  }
  for (const fan of fans) fan.stop();
  const what = `a change to ${number(count)} watchers`;
  const [p50, p99] = [0.5, 0.99].map((part) => fans.map(({ latenciesMs }) => percentile(latenciesMs, part)));
  const isLarge = count === 1_000;
  progress(`${what}: ${costs.map((cost) => cost.toFixed(1)).join(" and ")} µs CPU each`);
  const most = isLarge ? ({ of: "value", atMost: 50 } as const) : undefined;
  const mostCpu = isLarge && sides.length > 1 ? ({ of: "ratio", atMost: 1.2 } as const) : undefined;
  return [
    row({ what: `${what}, p50`, unit: "ms" }, p50?.[0], p50?.[1]),
    row({ what: `${what}, p99`, unit: "ms", gate: most }, p99?.[0], p99?.[1]),
    row({ what: `${what}, CPU for each event delivered`, unit: "µs", gate: mostCpu }, costs[0], costs[1]),
  ];
}

function row(
  { what, unit, gate }: { readonly what: string; readonly unit: string; readonly gate?: BenchRow["gate"] | undefined },
  value: number | undefined,
  peer: number | undefined,
): BenchRow {
  const beside = peer === undefined ? {} : { peer: { name: goPeerName, value: peer } };
  return { what, value: value ?? Number.NaN, unit, ...beside, ...(gate !== undefined && { gate }) };
}
