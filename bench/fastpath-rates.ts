/** How many packets a second one core moves from memif to memif: ours, testpmd, VPP, and a bridge of the kernel. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { PacketCore } from "../forwarder/native/core.js";
import { coreProgram } from "../forwarder/native/keeper-client.js";
import { end } from "./fastpath-tool.js";
import { missingNamespaces } from "./kernel-world.js";
import type { BenchOptions, BenchRow } from "./table.js";

const sizes = [64, 1500] as const;
/** Slots of a ring as a power of two, for all alike: with 256 buffers of 2 KiB full packets stay in the cache. */
const _log2Ring = { 64: 10, 1500: 8 } as const;
/** What is measured has the first core, generator and sink the second. */
const [measured, generator] = ["0", "1"];
/** Ratios that the project asks for, by size of the packet. */
const gates = { testpmd: { 64: 2.5, 1500: 1.8 }, vpp: { 64: 4, 1500: 4 }, bridge: { 64: 200, 1500: 50 } } as const;

export async function rates(core: PacketCore, { quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const [seconds, turns] = quick ? [0.5, 1] : [1.5, 5];
  const rows: BenchRow[] = [];
  for (const size of sizes) {
    const found = { ours: [] as number[], testpmd: [] as number[], vpp: [] as number[] };
    for (let turn = 0; turn < turns; turn++) {
      found.ours.push(await ours(core, size, seconds, turn));
      found.testpmd.push(...(await throughTestpmd(size, seconds).catch(() => [])));
      found.vpp.push(...(await throughVpp(size, seconds).catch(() => [])));
    }
    const bridge = await throughBridge(size, seconds);
    const value = median(found.ours) ?? 0;
    const peers = { testpmd: median(found.testpmd), vpp: median(found.vpp), bridge };
    progress(`${size} B: ${value.toFixed(1)} Mpps, ${JSON.stringify(peers)}`);
    for (const [name, peer] of Object.entries(peers)) {
      if (peer === undefined) continue;
      const gate = { of: "ratio", atLeast: gates[name as keyof typeof gates][size] } as const;
      rows.push({
        what: `memif to memif on one core, ${size} B`,
        value,
        unit: "Mpps",
        peer: { name: peerNames[name] ?? name, value: peer },
        gate,
      });
    }
  }
  return rows;
}

const peerNames: Readonly<Record<string, string>> = { vpp: "VPP l2 xconnect", bridge: "veth and bridge" };

/** Cycles that the worker needs for a packet, generator and sink left out. */
export function bareCost(): BenchRow[] {
  const goals = { 64: 26, 1500: 200 } as const;
  return sizes.map((size): BenchRow => {
    const { stdout } = spawnSync(coreProgram(), ["cycles", "--size", String(size), "--ring", "10", "--cpu", measured], {
      encoding: "utf8",
    });
    const { cycles } = JSON.parse(stdout) as { cycles: number };
    return {
      what: `cycles for one packet, ${size} B, hot`,
      value: cycles,
      unit: "cycles",
      gate: { of: "value", atMost: goals[size] },
    };
  });
}

async function ours(core: PacketCore, size: number, seconds: number, turn: number): Promise<number> {
  const [a, b] = [`@wb/${process.pid}/a${size}.${turn}`, `@wb/${process.pid}/b${size}.${turn}`];
  const memif = { kind: "memif", mode: "ethernet", role: "server" } as const;
  const portA = await core.addPort({ ...memif, name: "ra", path: a });
  const portB = await core.addPort({ ...memif, name: "rb", path: b });
  const slot = await core.setConnect({ name: "rx", portA, portB, mtuBytes: 1500 });
  const { pid } = core.board.worker();
  execFileSync("taskset", ["-p", "-c", measured, String(pid)], { stdio: "ignore" });
  try {
    return await light(a, b, size, seconds);
  } finally {
    execFileSync("taskset", ["-p", "-c", "0-1023", String(pid)], { stdio: "ignore" });
    await core.removeConnect(slot);
    await core.removePort(portA);
    await core.removePort(portB);
  }
}

/** Millions of packets a second that arrive. */
async function light(from: string, to: string, size: number, seconds: number): Promise<number> {
  const args = [
    "light",
    "--socket",
    from,
    "--to-socket",
    to,
    "--size",
    String(size),
    "--seconds",
    String(seconds),
    "--cpu",
    generator,
  ];
  const child = spawn(coreProgram(), args, { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  await new Promise((resolve) => child.once("close", resolve));
  return (JSON.parse(out) as { mpps: number }).mpps;
}

/** Empty: there is none on this machine. */
async function throughTestpmd(size: number, seconds: number): Promise<number[]> {
  if (spawnSync("dpdk-testpmd", ["--version"]).error !== undefined) return [];
  const [a, b] = [`wb/${process.pid}/pa${size}`, `wb/${process.pid}/pb${size}`];
  const device = (index: number, socket: string): string[] => ["--vdev", `net_memif${index},role=server,socket=${socket}`];
  const eal = ["--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry", "--log-level=3"];
  const cores = ["--lcores", `0@${generator},1@${measured}`];
  const more = ["--nb-cores=1", "--forward-mode=io", "--auto-start", "--total-num-mbufs=16384"];
  const peer = spawn("dpdk-testpmd", [...eal, ...cores, ...device(0, a), ...device(1, b), "--", ...more], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  try {
    for (let tries = 0; tries < 200 && !listening(b); tries++) await pause(50);
    await pause(300);
    return [await light(`@${a}`, `@${b}`, size, seconds)];
  } finally {
    await end(peer);
  }
}

function listening(socket: string): boolean {
  return readFileSync("/proc/net/unix", "utf8").includes(socket);
}

/** The program of VPP: WEFT_VPP, or one on the PATH. */
function vppProgram(): string | undefined {
  const { WEFT_VPP: given, PATH: path = "" } = process.env;
  return [given, ...path.split(":").map((folder) => join(folder, "vpp"))].find((file) => file && existsSync(file));
}

async function throughVpp(size: number, seconds: number): Promise<number[]> {
  const program = vppProgram();
  if (program === undefined) return [];
  const folder = mkdtempSync(join(tmpdir(), "wb-vpp-"));
  const cli = join(folder, "cli.sock");
  const [a, b] = [join(folder, "a.sock"), join(folder, "b.sock")];
  const config = [
    ...["unix", "{", "nodaemon", "cli-listen", cli, "runtime-dir", folder, "}"],
    ...["cpu", "{", "main-core", measured, "}", "buffers", "{", "buffers-per-numa", "16384", "page-size", "4K", "}"],
    ...[
      "memory",
      "{",
      "main-heap-size",
      "256M",
      "main-heap-page-size",
      "4K",
      "}",
      "statseg",
      "{",
      "size",
      "16M",
      "page-size",
      "4K",
      "}",
    ],
    ...["plugins", "{", "plugin", "default", "{", "disable", "}", "plugin", "memif_plugin.so", "{", "enable", "}", "}"],
  ];
  const peer = spawn(program, config, {
    stdio: "ignore",
    env: { ...process.env, LD_LIBRARY_PATH: join(dirname(dirname(program)), "lib", "x86_64-linux-gnu") },
  });
  const tell = (line: string): string =>
    execFileSync(join(dirname(program), "vppctl"), ["-s", cli, ...line.split(" ")], { encoding: "utf8" });
  try {
    for (let tries = 0; tries < 200 && !existsSync(cli); tries++) await pause(50);
    for (const [id, socket] of [a, b].entries()) {
      tell(`create memif socket id ${id + 1} filename ${socket}`);
      tell(`create interface memif id 0 socket-id ${id + 1} master`);
      tell(`set interface state memif${id + 1}/0 up`);
      tell(`set interface rx-mode memif${id + 1}/0 polling`);
    }
    tell("set interface l2 xconnect memif1/0 memif2/0");
    tell("set interface l2 xconnect memif2/0 memif1/0");
    return [await light(a, b, size, seconds)];
  } finally {
    await end(peer);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** From a veth over a bridge to another; undefined: namespaces cannot be made here. */
async function throughBridge(size: number, seconds: number): Promise<number | undefined> {
  if ((await missingNamespaces()) !== undefined) return undefined;
  const names = ["s", "b", "r"].map((hint) => `wt-wb${hint}-${process.pid}`);
  const [sender, middle, receiver] = names as [string, string, string];
  const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });
  const received = (): number =>
    Number(
      execFileSync("ip", ["netns", "exec", receiver, "cat", "/sys/class/net/e/statistics/rx_packets"], { encoding: "utf8" }),
    );
  try {
    for (const name of names) ip("netns", "add", name);
    ip("-n", middle, "link", "add", "name", "bridge0", "type", "bridge");
    ip("-n", middle, "link", "set", "dev", "bridge0", "up");
    for (const [index, name] of [sender, receiver].entries()) {
      ip("-n", name, "link", "add", "name", "e", "type", "veth", "peer", "name", `p${index}`, "netns", middle);
      ip("-n", name, "addr", "add", `10.99.0.${index + 1}/24`, "dev", "e");
      ip("-n", name, "link", "set", "dev", "e", "up");
      ip("-n", middle, "link", "set", "dev", `p${index}`, "master", "bridge0");
      ip("-n", middle, "link", "set", "dev", `p${index}`, "up");
    }
    execFileSync("ip", ["netns", "exec", sender, "ping", "-q", "-c", "3", "-i", "0.2", "10.99.0.2"], { stdio: "ignore" });
    const before = received();
    const args = [
      "datagrams",
      "--to-socket",
      "10.99.0.2",
      "--size",
      String(size),
      "--seconds",
      String(seconds),
      "--cpu",
      measured,
    ];
    const out = execFileSync("ip", ["netns", "exec", sender, coreProgram(), ...args], { encoding: "utf8" });
    return (received() - before) / (JSON.parse(out) as { seconds: number }).seconds / 1e6;
  } finally {
    for (const name of names) spawnSync("ip", ["netns", "del", name]);
  }
}

function median(values: readonly number[]): number | undefined {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
