/**
 * What one connection costs the forwarder in the kernel, against the same made with `ip` and with the CNI plug-in ptp.
 */
import { existsSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { crossConnect, noSignal, port } from "../forwarder/dataplane/compliance-world.js";
import type { DataPlane } from "../forwarder/dataplane/dataplane.js";
import { createKernelDataPlane } from "../forwarder/dataplane/kernel/kernel.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { childrenCpuMs, cniFolder, cniPtp, ipBatch, ipOneByOne, ipRemove } from "./kernel-ip.js";
import { type BenchPair, type BenchWorld, benchConnection, benchWorld, missingNamespaces } from "./kernel-world.js";
import { percentile } from "./process-cost.js";
import type { Bench, BenchRow } from "./table.js";

interface Cost {
  readonly wallMs: number[];
  cpuMs: number;
}
type Costs = Record<"ours" | "refresh" | "remove" | "tunnel" | "ip" | "batch" | "cni", Cost>;

export const bench: Bench = {
  name: "kernel",
  missing: async () =>
    (await missingNamespaces()) ??
    (["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"].some(existsSync) ? undefined : "`ip` is missing: apt-get install iproute2"),
  async run({ quick, progress }) {
    const world = benchWorld();
    const dataPlane = createKernelDataPlane({ stateDir: world.folder(), log: silentLog });
    try {
      const pair = { client: world.namespace("client"), endpoint: world.namespace("endpoint") };
      const [rounds, perRound] = quick ? [2, 10] : [10, 20];
      const costs = newCosts();
      await measureOurs(dataPlane, pair, newCosts(), 0, perRound);
      for (let round = 1; round <= rounds; round++) {
        progress(`round ${round} of ${rounds}`);
        await measureOurs(dataPlane, pair, costs, round * perRound, perRound);
        await measureTunnels(dataPlane, pair, costs, perRound);
        measureOthers(world, pair, costs, round * perRound, Math.ceil(perRound / 4));
      }
      const group = await removeTogether(dataPlane, pair, quick ? 20 : 50);
      return { name: "kernel", title: "One kernel connection", method, rows: rowsOf(costs, group) };
    } finally {
      await dataPlane.close();
      world.end();
    }
  },
};

const method =
  "A dual-stack veth connection between two namespaces with MAC, MTU, alias, two addresses, two routes, two neighbours and a policy " +
  "rule with its default route at each end: one `ensure` of the kernel data plane (with its ledger entry) against the same 19 commands of " +
  "`ip -n NS`, one process each, and against `ip -batch` (two processes). Blocks of each are interleaved in one run; wall time is the " +
  "median, CPU is user plus system time of the process (for the others: of its children) divided by the number of operations. " +
  "CNI ptp with host-local wires one namespace to the host, IPv4 only, and is there when its plug-ins are (CNI_PATH).";

function newCosts(): Costs {
  const cost = (): Cost => ({ wallMs: [], cpuMs: 0 });
  return { ours: cost(), refresh: cost(), remove: cost(), tunnel: cost(), ip: cost(), batch: cost(), cni: cost() };
}

async function measureOurs(dataPlane: DataPlane, pair: BenchPair, costs: Costs, first: number, count: number): Promise<void> {
  const wanted = Array.from({ length: count }, (_, index) => benchConnection(pair, first + index));
  for (const each of wanted) await measured(costs.ours, ownCpuMs, () => dataPlane.ensure(each, noSignal));
  for (const each of wanted)
    await measured(costs.refresh, ownCpuMs, () => dataPlane.ensure({ ...each, generation: 2 }, noSignal));
  for (const each of wanted) await measured(costs.remove, ownCpuMs, () => dataPlane.remove(each.id, noSignal));
}

async function measureTunnels(dataPlane: DataPlane, pair: BenchPair, costs: Costs, count: number): Promise<void> {
  const tunnel = { kind: "vxlan", udpPort: 14_789, localAddress: "127.0.0.1", remoteAddress: "127.0.0.2" } as const;
  const client = port(pair.client, { addresses: ["10.1.0.1/32", "fd01::1/128"], onLinkPrefixes: ["10.1.0.0/32", "fd01::2/128"] });
  for (let vni = 1; vni <= count; vni++) {
    const wanted = crossConnect(`tunnel-${vni}`, {
      client: { ...client, interfaceName: `vx${vni}` },
      endpoint: { ...tunnel, vni },
    });
    await measured(costs.tunnel, ownCpuMs, () => dataPlane.ensure(wanted, noSignal));
    await dataPlane.remove(wanted.id, noSignal);
  }
}

function measureOthers(world: BenchWorld, pair: BenchPair, costs: Costs, first: number, count: number): void {
  const folder = cniFolder();
  const dataDir = folder === undefined ? "" : world.folder();
  const host = world.namespace("host");
  for (let index = first; index < first + count; index++) {
    measuredNow(costs.ip, () => ipOneByOne(pair, index));
    ipRemove(pair, index);
    measuredNow(costs.batch, () => ipBatch(pair, index));
    ipRemove(pair, index);
    if (folder === undefined) continue;
    measuredNow(costs.cni, () => cniPtp(folder, "ADD", host, pair, index, dataDir));
    cniPtp(folder, "DEL", host, pair, index, dataDir);
  }
}

/** Wall time and the longest pause of the event loop while many are removed at once. */
async function removeTogether(
  dataPlane: DataPlane,
  pair: BenchPair,
  count: number,
): Promise<{ count: number; wallMs: number; pauseMs: number }> {
  const wanted = Array.from({ length: count }, (_, index) => benchConnection(pair, 1000 + index));
  for (const each of wanted) await dataPlane.ensure(each, noSignal);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startMs = performance.now();
  await Promise.all(wanted.map(({ id }) => dataPlane.remove(id, noSignal)));
  const wallMs = performance.now() - startMs;
  delay.disable();
  return { count, wallMs, pauseMs: delay.max / 1e6 };
}

function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function measured(cost: Cost, cpuNow: () => number, action: () => Promise<void>): Promise<void> {
  const [startMs, startCpuMs] = [performance.now(), cpuNow()];
  await action();
  cost.cpuMs += cpuNow() - startCpuMs;
  cost.wallMs.push(performance.now() - startMs);
}

function measuredNow(cost: Cost, action: () => void): void {
  const [startMs, startCpuMs] = [performance.now(), childrenCpuMs()];
  action();
  cost.cpuMs += childrenCpuMs() - startCpuMs;
  cost.wallMs.push(performance.now() - startMs);
}

function rowsOf(costs: Costs, group: { count: number; wallMs: number; pauseMs: number }): BenchRow[] {
  const p50 = ({ wallMs }: Cost): number => percentile(wallMs, 0.5);
  const cpu = ({ cpuMs, wallMs }: Cost): number => cpuMs / wallMs.length;
  const against = (name: string, value: number) => ({ name, value });
  const { ours, refresh, remove, tunnel, ip, batch, cni } = costs;
  return [
    {
      what: "set up, wall p50",
      value: p50(ours),
      unit: "ms",
      peer: against("ip one by one", p50(ip)),
      gate: { of: "ratio", atMost: 0.1 },
    },
    {
      what: "set up, wall p99",
      value: percentile(ours.wallMs, 0.99),
      unit: "ms",
      peer: against("ip one by one", percentile(ip.wallMs, 0.99)),
    },
    {
      what: "set up, CPU",
      value: cpu(ours),
      unit: "ms CPU",
      peer: against("ip one by one", cpu(ip)),
      gate: { of: "value", atMost: 5 },
    },
    { what: "set up, wall p50", value: p50(ours), unit: "ms", peer: against("ip -batch", p50(batch)) },
    { what: "set up, CPU", value: cpu(ours), unit: "ms CPU", peer: against("ip -batch", cpu(batch)) },
    ...(cni.wallMs.length === 0
      ? []
      : [{ what: "set up, wall p50", value: p50(ours), unit: "ms", peer: against("CNI ptp, IPv4 only", p50(cni)) }]),
    ...(cni.wallMs.length === 0
      ? []
      : [{ what: "set up, CPU", value: cpu(ours), unit: "ms CPU", peer: against("CNI ptp, IPv4 only", cpu(cni)) }]),
    { what: "VXLAN end, wall p50", value: p50(tunnel), unit: "ms" },
    { what: "VXLAN end, CPU", value: cpu(tunnel), unit: "ms CPU", gate: { of: "value", atMost: 5 } },
    { what: "refresh (read back, nothing to change), CPU", value: cpu(refresh), unit: "ms CPU" },
    { what: "remove one, wall p50", value: p50(remove), unit: "ms" },
    { what: "remove one, CPU", value: cpu(remove), unit: "ms CPU" },
    { what: `remove ${group.count} together, wall`, value: group.wallMs, unit: "ms" },
    { what: `remove ${group.count} together, longest pause of the event loop`, value: group.pauseMs, unit: "ms" },
  ];
}
