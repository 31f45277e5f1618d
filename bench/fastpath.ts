/**
 * The packet core: memif to memif on one worker beside DPDK's testpmd with net_memif, with the same generator and sink; what a
 * packet costs the worker; how fast connections come up; how long a killed worker is missed; what a call and a counter cost.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { PacketCore } from "../forwarder/native/core.js";
import { coreProgram, openKeeperCore } from "../forwarder/native/keeper-client.js";
import { cpuMs, percentile } from "./process-cost.js";
import type { Bench, BenchOptions, BenchRow } from "./table.js";

const sizes = [64, 1500] as const;

export const bench: Bench = {
  name: "fastpath",
  missing: async () => (existsSync(coreProgram()) ? undefined : 'the packet core is not built; run "npm run build:native"'),
  async run(options) {
    const folder = mkdtempSync(join(tmpdir(), "wb-"));
    const core = await openKeeperCore({ socketPath: join(folder, "keeper"), ephemeral: true });
    try {
      const rows = [
        ...(await throughput(core, options)),
        ...(await manyConnections(core, options)),
        ...(await killedWorker(core, options)),
        ...(await control(core, options)),
      ];
      return {
        name: "fastpath",
        title: "Fast path: the packet core",
        method:
          "Generator and sink are `weft-fast blast` and `sink`, processes of their own that write and read every packet; the peer is " +
          "testpmd (io forwarding, net_memif) between the same two. Three pollers share two cores, so rates are those of the whole " +
          "machine; CPU time of the worker for each packet says what the core itself costs.",
        rows,
      };
    } finally {
      await core.end();
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

async function throughput(core: PacketCore, { quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  const seconds = quick ? 1 : 4;
  const testpmd = spawnSync("dpdk-testpmd", ["--version"]).error === undefined;
  for (const size of sizes) {
    const [a, b] = [`@wb/${process.pid}/a${size}`, `@wb/${process.pid}/b${size}`];
    const memif = { kind: "memif", mode: "ethernet", role: "server" } as const;
    const portA = await core.addPort({ ...memif, name: `a${size}`, path: a });
    const portB = await core.addPort({ ...memif, name: `b${size}`, path: b });
    const slot = await core.setConnect({ name: `x${size}`, portA, portB, mtuBytes: 1500 });
    const { pid } = core.board.worker();
    const before = cpuMs(pid);
    const ours = await blastAndSink(a, b, size, seconds);
    const spent = cpuMs(pid) - before;
    const { packets } = core.board.direction(slot, "ab");
    const theirs = testpmd ? await throughTestpmd(size, seconds).catch(() => undefined) : undefined;
    progress(`${size} B: ${ours.toFixed(2)} Mpps, testpmd ${theirs?.toFixed(2) ?? "missing"}`);
    const peer = theirs === undefined ? {} : { peer: { name: "testpmd", value: theirs } };
    rows.push({ what: `memif to memif, ${size} B`, value: ours, unit: "Mpps", ...peer });
    rows.push({
      what: `CPU of the worker for one packet, ${size} B`,
      value: (spent * 1e6) / Math.max(1, Number(packets)),
      unit: "ns",
    });
    await core.removeConnect(slot);
    await core.removePort(portA);
    await core.removePort(portB);
  }
  return rows;
}

/** Millions of packets a second that arrive. */
async function blastAndSink(from: string, to: string, size: number, seconds: number): Promise<number> {
  const sink = tool(["sink", "--socket", to, "--interval", "3600"]);
  await pause(200);
  const blast = tool(["blast", "--socket", from, "--size", String(size), "--seconds", String(seconds), "--interval", "3600"]);
  await blast.ended;
  const { received } = await sink.stop();
  return received / seconds / 1e6;
}

async function throughTestpmd(size: number, seconds: number): Promise<number> {
  const [a, b] = [`@wb/${process.pid}/pa${size}`, `@wb/${process.pid}/pb${size}`];
  const device = (index: number, socket: string): string[] => [
    "--vdev",
    `net_memif${index},role=server,socket=${socket.slice(1)}`,
  ];
  const eal = ["--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "-l", "0,1", "--log-level=3"];
  const args = [
    ...eal,
    ...device(0, a),
    ...device(1, b),
    "--",
    "--nb-cores=1",
    "--forward-mode=io",
    "--auto-start",
    "--total-num-mbufs=16384",
  ];
  const peer = spawn("dpdk-testpmd", args, { stdio: ["pipe", "ignore", "ignore"] });
  try {
    for (let tries = 0; tries < 200 && !readFileSync("/proc/net/unix", "utf8").includes(b); tries++) await pause(100);
    await pause(500);
    return await blastAndSink(a, b, size, seconds);
  } finally {
    await end(peer);
  }
}

async function manyConnections(core: PacketCore, { quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const count = quick ? 100 : 500;
  const made: { a: number; b: number; slot: number }[] = [];
  const started = performance.now();
  for (let index = 0; index < count; index++) {
    const path = `@wb/${process.pid}/many${index}`;
    const a = await core.addPort({ name: `s${index}`, kind: "memif", mode: "ethernet", role: "server", path, log2Ring: 6 });
    const b = await core.addPort({ name: `c${index}`, kind: "memif", mode: "ethernet", role: "client", path, log2Ring: 6 });
    made.push({ a, b, slot: -1 });
  }
  while (made.some(({ a, b }) => core.board.link(a) !== "up" || core.board.link(b) !== "up")) await pause(1);
  const upMs = performance.now() - started;
  const { pid } = core.board.worker();
  const before = cpuMs(pid);
  await pause(2_000);
  const idle = (cpuMs(pid) - before) / 20;
  for (const { a, b } of made) {
    await core.removePort(a);
    await core.removePort(b);
  }
  progress(`${count} links up in ${upMs.toFixed(0)} ms`);
  return [
    { what: `${2 * count} memif ports connected`, value: upMs, unit: "ms", gate: { of: "value", atMost: 1_000 } },
    { what: `idle CPU with ${2 * count} connected ports`, value: idle, unit: "%", gate: { of: "value", atMost: 3 } },
  ];
}

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
    { what: "worker killed at full rate: forwarding again, 99 %", value: percentile(gaps, 0.99), unit: "ms" },
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

interface Totals {
  readonly sent: number;
  readonly received: number;
  readonly doubled: number;
}

function tool(args: readonly string[]): { readonly ended: Promise<void>; stop(): Promise<Totals> } {
  const child = spawn(coreProgram(), [...args], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    ended,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      return JSON.parse(out.trim().split("\n").at(-1) ?? "{}") as Totals;
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.kill("SIGKILL");
  await ended;
}
