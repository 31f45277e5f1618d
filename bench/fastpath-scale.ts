/** Many cross-connects on one worker, changes of its table at full rate, and chains of functions that share their rings. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { PacketCore } from "../forwarder/native/core.js";
import { openKeeperCore } from "../forwarder/native/keeper-client.js";
import { tool } from "./fastpath-tool.js";
import { cpuMs } from "./process-cost.js";
import type { BenchOptions, BenchRow } from "./table.js";

const memif = { kind: "memif", mode: "ethernet", log2Ring: 6 } as const;

/** Servers in a core of their own, whose clients are in another one and wait for them. */
export async function thousandCrossConnects({ quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const count = quick ? 100 : 1_000;
  const folder = mkdtempSync(join(tmpdir(), "wb-"));
  const core = await openKeeperCore({ socketPath: join(folder, "keeper"), ephemeral: true });
  const peers = await openKeeperCore({ socketPath: join(folder, "peers"), ephemeral: true });
  try {
    const path = (index: number): string => `@wb/${process.pid}/m${index}`;
    const ends = Array.from({ length: 2 * count }, (_, index) => index);
    await Promise.all(ends.map((index) => peers.addPort({ ...memif, name: `p${index}`, role: "client", path: path(index) })));
    const started = performance.now();
    const ports = await Promise.all(
      ends.map((index) => core.addPort({ ...memif, name: `s${index}`, role: "server", path: path(index) })),
    );
    const joined = ends.filter((index) => index % 2 === 0);
    await Promise.all(
      joined.map((index) =>
        core.setConnect({ name: `x${index}`, portA: ports[index] ?? 0, portB: ports[index + 1] ?? 0, mtuBytes: 1500 }),
      ),
    );
    while (ports.some((port) => core.board.link(port) !== "up")) await pause(1);
    const upMs = performance.now() - started;
    await pause(500);
    const { pid } = core.board.worker();
    const before = cpuMs(pid);
    await pause(2_000);
    const idle = (cpuMs(pid) - before) / 20;
    progress(`${count} cross-connects up in ${upMs.toFixed(0)} ms`);
    const rows: BenchRow[] = [
      {
        what: `${count} cross-connects on one worker: all links up`,
        value: upMs,
        unit: "ms",
        gate: { of: "value", atMost: 1_000 },
      },
      { what: `idle CPU of the worker with ${count} cross-connects`, value: idle, unit: "%", gate: { of: "value", atMost: 3 } },
    ];
    return [...rows, await idlePass(core, count)];
  } finally {
    await Promise.all([core.end(), peers.end()]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A pass of the worker that one trickle keeps awake, beside directions that have nothing: what each of them costs it. */
async function idlePass(core: PacketCore, count: number): Promise<BenchRow> {
  const [a, b] = [`@wb/${process.pid}/ia`, `@wb/${process.pid}/ib`];
  const portA = await core.addPort({ kind: "memif", mode: "ethernet", name: "ia", role: "server", path: a });
  const portB = await core.addPort({ kind: "memif", mode: "ethernet", name: "ib", role: "server", path: b });
  await core.setConnect({ name: "ix", portA, portB, mtuBytes: 1500 });
  const sink = tool(["sink", "--socket", b, "--interval", "3600"]);
  const blast = tool(["blast", "--socket", a, "--rate", "20000", "--interval", "3600"]);
  await pause(700);
  const { pid, passes } = core.board.worker();
  const before = cpuMs(pid);
  await pause(1_500);
  const spentMs = cpuMs(pid) - before;
  const done = Number(core.board.worker().passes - passes);
  await Promise.all([blast.stop(), sink.stop()]);
  return {
    what: `a whole pass of the worker over ${2 * count} directions, one of them with packets: for each direction`,
    value: (spentMs * cyclesPerMs) / Math.max(1, done) / (2 * count),
    unit: "cycles",
    gate: { of: "value", atMost: 2 },
  };
}

/** Cycles are counted at 2.5 GHz here: the pass is far from its bound. */
const cyclesPerMs = 2.5e6;

/** Other cross-connects come and go, and the busy one is changed, at full rate. */
export async function changedTable(core: PacketCore, { quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const [a, b] = [`@wb/${process.pid}/ta`, `@wb/${process.pid}/tb`];
  const portA = await core.addPort({ kind: "memif", mode: "ethernet", name: "ta", role: "server", path: a });
  const portB = await core.addPort({ kind: "memif", mode: "ethernet", name: "tb", role: "server", path: b });
  const busy = await core.setConnect({ name: "tx", portA, portB, mtuBytes: 1500 });
  const others = await Promise.all(["to", "tp"].map((name) => core.addPort({ name, kind: "echo", mode: "ethernet" })));
  const sink = tool(["sink", "--socket", b, "--interval", "3600"]);
  const blast = tool(["blast", "--socket", a, "--interval", "3600"]);
  while (core.board.direction(busy, "ab").packets < 100_000n) await pause(5);
  const changes = quick ? 100 : 1_500;
  for (let change = 0; change < changes; change++) {
    const slot = await core.setConnect({ name: "ty", portA: others[0] ?? 0, portB: others[1] ?? 0, mtuBytes: 1500 });
    await core.setConnect({ name: "tx", portA, portB, mtuBytes: 1500 + (change % 2) });
    await core.removeConnect(slot);
  }
  const { sent } = await blast.stop();
  await pause(200);
  const { packets, dropFull } = core.board.direction(busy, "ab");
  const { received } = await sink.stop();
  for (const port of others) await core.removePort(port);
  await core.removeConnect(busy);
  await core.removePort(portA);
  await core.removePort(portB);
  progress(`${3 * changes} changes beside ${(Number(packets) / 1e6).toFixed(1)} million packets`);
  const lost = BigInt(sent) - packets - dropFull + (packets - BigInt(received));
  const what = `packets lost by ${3 * changes} changes of the table at full rate, beyond those counted as ring full`;
  return [{ what, value: Number(lost), unit: "", gate: { of: "value", atMost: 0 } }];
}

/** In: the core. Between functions: rings of their own. Out: the core. */
export async function chain(core: PacketCore, { quick, progress }: BenchOptions): Promise<BenchRow[]> {
  const packets = quick ? 20_000 : 200_000;
  const one = await throughChain(core, 1, packets);
  const ten = await throughChain(core, 10, packets);
  progress(`chain of 1: ${one.nsEach.toFixed(0)} ns of the worker for each packet, of 10: ${ten.nsEach.toFixed(0)}`);
  const peer = { name: "a chain of 1", value: one.hops };
  return [
    {
      what: "chain of 10 memif functions: packets that the forwarder moves for each that arrives",
      value: ten.hops,
      unit: "",
      peer,
      gate: { of: "ratio", atMost: 1.25 },
    },
    {
      what: "chain of 10 memif functions: CPU of the worker for each packet that arrives",
      value: ten.nsEach,
      unit: "ns",
      peer: { name: "a chain of 1", value: one.nsEach },
      gate: { of: "ratio", atMost: 1.25 },
    },
    {
      what: "ports of the forwarder on the inner hops of that chain",
      value: ten.innerPorts,
      unit: "",
      gate: { of: "value", atMost: 0 },
    },
  ];
}

async function throughChain(core: PacketCore, functions: number, packets: number) {
  const name = (what: string): string => `@wb/${process.pid}/c${functions}${what}`;
  const server = { kind: "memif", mode: "ethernet", role: "server" } as const;
  const client = { kind: "memif", mode: "ethernet", role: "client" } as const;
  const [first, last] = [name("in0"), name(`in${functions}`)];
  const ports = [
    await core.addPort({ ...server, name: "c.from", path: name("from") }),
    await core.addPort({ ...client, name: "c.first", path: first }),
    await core.addPort({ ...server, name: "c.last", path: last }),
    await core.addPort({ ...server, name: "c.to", path: name("to") }),
  ] as const;
  const into = await core.setConnect({ name: "c.into", portA: ports[0], portB: ports[1], mtuBytes: 1500 });
  const outOf = await core.setConnect({ name: "c.out", portA: ports[2], portB: ports[3], mtuBytes: 1500 });
  // A function listens where the one before connects: the keeper's proxy hands on their control messages, and rings are shared.
  const proxies = await Promise.all(
    Array.from({ length: functions - 1 }, (_, index) =>
      core.addPort({
        name: `c.p${index}`,
        kind: "proxy",
        mode: "ethernet",
        path: name(`out${index}`),
        peerPath: name(`in${index + 1}`),
      }),
    ),
  );
  const relays = Array.from({ length: functions }, (_, index) =>
    tool(["relay", "--socket", name(`in${index}`), "--to-socket", index === functions - 1 ? last : name(`out${index}`)]),
  );
  const sink = tool(["sink", "--socket", name("to"), "--interval", "3600"]);
  while (
    core.board.link(ports[1]) !== "up" ||
    core.board.link(ports[2]) !== "up" ||
    proxies.some((slot) => core.board.link(slot) !== "up")
  )
    await pause(5);
  const { pid } = core.board.worker();
  const before = cpuMs(pid);
  await tool(["blast", "--socket", name("from"), "--count", String(packets), "--rate", "50000", "--interval", "3600"]).ended;
  await pause(300);
  const spentMs = cpuMs(pid) - before;
  const { received } = await sink.stop();
  const moved = core.board.direction(into, "ab").packets + core.board.direction(outOf, "ab").packets;
  for (const relay of relays) await relay.stop();
  const inner =
    (await core.list()).filter(({ name, kind }) => name.startsWith("c.") && kind !== "connect" && kind !== "proxy").length -
    ports.length;
  await core.removeConnect(into);
  await core.removeConnect(outOf);
  for (const slot of [...ports, ...proxies]) await core.removePort(slot);
  return { hops: Number(moved) / received, nsEach: (spentMs * 1e6) / received, innerPorts: inner };
}
