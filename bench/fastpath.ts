/**
 * The packet core: memif to memif on one worker beside DPDK's testpmd with net_memif, VPP and a bridge of the kernel, with the same
 * generator and sink; what a packet costs; many cross-connects, chains, changes at full rate; how long a killed worker is missed;
 * what a call and a counter cost.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { PacketCore } from "../forwarder/native/core.js";
import { coreProgram, openKeeperCore } from "../forwarder/native/keeper-client.js";
import { bareCost, rates } from "./fastpath-rates.js";
import { chain, changedTable, thousandCrossConnects } from "./fastpath-scale.js";
import { tool } from "./fastpath-tool.js";
import { percentile } from "./process-cost.js";
import type { Bench, BenchOptions, BenchRow } from "./table.js";

export const bench: Bench = {
  name: "fastpath",
  missing: async () => (existsSync(coreProgram()) ? undefined : 'the packet core is not built; run "npm run build:native"'),
  async run(options) {
    const folder = mkdtempSync(join(tmpdir(), "wb-"));
    const core = await openKeeperCore({ socketPath: join(folder, "keeper"), ephemeral: true });
    try {
      const rows = [
        ...(await rates(core, options)),
        ...bareCost(),
        ...(await thousandCrossConnects(options)),
        ...(await killedWorker(core, options)),
        ...(await changedTable(core, options)),
        ...(await chain(core, options)),
        ...(await control(core, options)),
      ];
      return {
        name: "fastpath",
        title: "Fast path: the packet core",
        method:
          "memif to memif, one way. The generator and sink (`weft-fast light`) is one thread on one core that moves ring indices and " +
          "descriptors and touches no payload; what is measured has the other core: our worker, testpmd with net_memif in io mode, " +
          "VPP with an l2 cross-connect where WEFT_VPP or the PATH has one. They take turns, and the median of the turns counts. The bridge of the kernel " +
          "gets datagrams by sendmmsg from one veth to another. Cycles are those of the time stamp counter around the forwarding alone, in one " +
          "thread, with payload that has just been written (`weft-fast cycles`).",
        rows,
      };
    } finally {
      await core.end();
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function killedWorker(core: PacketCore, { quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const [a, b] = [`@wb/${process.pid}/ka`, `@wb/${process.pid}/kb`];
  const memif = { kind: "memif", mode: "ethernet", role: "server" } as const;
  const portA = await core.addPort({ ...memif, name: "ka", path: a });
  const portB = await core.addPort({ ...memif, name: "kb", path: b });
  const slot = await core.setConnect({ name: "kx", portA, portB, mtuBytes: 1500 });
  const sink = tool(["sink", "--socket", b, "--interval", "3600"]);
  const blast = tool(["blast", "--socket", a, "--interval", "3600"]);
  while (core.board.direction(slot, "ab").packets < 100_000n) await pause(5);
  const gaps: number[] = [];
  for (let kill = 0; kill < (quick ? 5 : 30); kill++) {
    await pause(250); // a worker that dies sooner is started again after a pause
    const { pid, starts } = core.board.worker();
    const killedAt = performance.now();
    process.kill(pid, "SIGKILL");
    while (core.board.worker().starts === starts) await pause(0);
    const count = core.board.direction(slot, "ab").packets;
    while (core.board.direction(slot, "ab").packets === count) await pause(0);
    gaps.push(performance.now() - killedAt);
  }
  const { sent } = await blast.stop();
  await pause(200);
  const { packets, dropFull } = core.board.direction(slot, "ab");
  const breaks = core.board.port(portB).breaks;
  const { doubled } = await sink.stop();
  progress(`worker killed ${gaps.length} times`);
  await core.removeConnect(slot);
  await core.removePort(portA);
  await core.removePort(portB);
  return [
    { what: "worker killed at full rate: forwarding again, median", value: percentile(gaps, 0.5), unit: "ms" },
    {
      what: "worker killed at full rate: forwarding again, 99 %",
      value: percentile(gaps, 0.99),
      unit: "ms",
      gate: { of: "value", atMost: 10 },
    },
    {
      what: "packets neither forwarded nor counted as dropped",
      value: Number(BigInt(sent) - packets - dropFull),
      unit: "",
      gate: { of: "value", atMost: 0 },
    },
    { what: "packets doubled", value: doubled, unit: "", gate: { of: "value", atMost: 0 } },
    { what: "links lost", value: Number(breaks), unit: "", gate: { of: "value", atMost: 0 } },
  ];
}

async function control(core: PacketCore, { quick }: BenchOptions): Promise<BenchRow[]> {
  const ports = [
    await core.addPort({ name: "ca", kind: "echo", mode: "ip" }),
    await core.addPort({ name: "cb", kind: "echo", mode: "ip" }),
  ] as const;
  const times: number[] = [];
  for (let round = 0; round < (quick ? 200 : 2_000); round++) {
    const from = performance.now();
    const slot = await core.setConnect({ name: "c", portA: ports[0], portB: ports[1], mtuBytes: 1500 });
    times.push((performance.now() - from) * 1_000);
    await core.removeConnect(slot);
  }
  const slot = await core.setConnect({ name: "c", portA: ports[0], portB: ports[1], mtuBytes: 1500 });
  const reads = quick ? 20_000 : 200_000;
  const from = performance.now();
  for (let read = 0; read < reads; read++) core.board.direction(slot, "ab");
  const each = ((performance.now() - from) * 1e6) / reads;
  await core.removeConnect(slot);
  for (const port of ports) await core.removePort(port);
  return [
    {
      what: "cross-connect made, through the keeper's socket, median",
      value: percentile(times, 0.5),
      unit: "µs",
      gate: { of: "value", atMost: 100 },
    },
    { what: "one counter read (eight are read together)", value: each / 8, unit: "ns", gate: { of: "value", atMost: 150 } },
  ];
}
