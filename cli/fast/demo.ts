/** weft demo --fast: a memif connection across two nodes, at full rate, through a worker that is killed before your eyes. */
import { existsSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { PacketCore } from "../../forwarder/native/core.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import type { CliContext } from "../context.js";
import { type Record, startRecord } from "../demo/record.js";
import { type FastMesh, type FastNode, startFastMesh } from "./mesh.js";
import { startTool, type Totals, toolProgram } from "./tool.js";
import { addressesOf, connectMemif, type MemifEndpoint, serveMemif, socketArgs } from "./workloads.js";

/** How long packets flow at full rate in each part. */
const partMs = 2_000;
const kills = 3;
/** Between rings a burst is moved exactly once; one that was handed to a socket when the worker died may go again. */
const burst = 64;

interface Stage {
  readonly mesh: FastMesh;
  readonly program: string;
  readonly signal: AbortSignal;
  readonly record: Record;
}

/** @returns 0 when every proof holds */
export async function fastDemo(options: { readonly json?: boolean }, context: CliContext, why = ""): Promise<number> {
  const show = options.json === true ? context.err : context.out;
  const record = startRecord(context, show);
  const startedAt = performance.now();
  show.write(`Weft demo, fast path: memif between two nodes, no namespace and no right needed${why}\n`);
  const program = await toolProgram();
  const mesh = await startFastMesh(context);
  const { folder } = mesh;
  try {
    record.step(`registry, and two nodes at ${mesh.nodes.map(({ tunnelAddress }) => tunnelAddress).join(" and ")}`);
    const stage = { mesh, program, record, signal: context.signal };
    await across(stage);
    await within(stage);
  } finally {
    await mesh.stop();
  }
  await record.prove("everything is removed", async () => {
    if (existsSync(folder)) throw new Error(`${folder} is left`);
    return "no process, no socket, no file";
  });
  const ok = record.proofs.every((proof) => proof.ok);
  const took = ((performance.now() - startedAt) / 1000).toFixed(1);
  show.write(
    `\n${ok ? `all ${record.proofs.length} proofs hold` : `${record.proofs.filter((each) => !each.ok).length} proofs FAILED`} (${took} s)\n`,
  );
  if (options.json === true) context.out.write(`${JSON.stringify({ ok, proofs: record.proofs })}\n`);
  return ok ? 0 : 1;
}

/** client on node-1 → its core → VXLAN over UDP → the core of node-2 → endpoint. */
async function across(stage: Stage): Promise<void> {
  const { mesh, program, record, signal } = stage;
  const [near, far] = mesh.nodes;
  const echo = await serveMemif({
    nsmgr: far.url,
    service: "echo",
    cidr: "10.60.0.0/24",
    program,
    args: ["echo", "--interval", "3600"],
    signal,
  });
  const made = await record.prove("memif connection from node-1 to an endpoint of node-2", async () => {
    const connection = await connectMemif("memif://echo", near.url, signal);
    const { own, other } = addressesOf(connection.connection);
    return {
      detail: `${own} → ${other}, MTU ${connection.context.MTU}, socket ${socketArgs(connection.connection)[1]}`,
      value: connection,
    };
  });
  if (made !== undefined) {
    await record.prove("ping through shared memory, VXLAN and shared memory", () => ping(stage, made));
    await made.close();
  }
  await echo.close();
  await rated(stage, far, "across two nodes", "node-1 → VXLAN → node-2");
}

/** Client and endpoint on node-1: one copy, from ring to ring. */
async function within(stage: Stage): Promise<void> {
  await rated(stage, stage.mesh.nodes[0], "within a node", "ring → node-1 → ring");
}

async function rated({ mesh, program, record, signal }: Stage, to: FastNode, name: string, way: string): Promise<void> {
  const [near] = mesh.nodes;
  const service = `sink-${to.name}`;
  const sink = await serveMemif({
    nsmgr: to.url,
    service,
    cidr: "10.61.0.0/24",
    program,
    args: ["sink", "--interval", "0.5"],
    signal,
  });
  const connection = await connectMemif(`memif://${service}`, near.url, signal);
  const { openKeeperCore } = await import("../../forwarder/native/keeper-client.js");
  const core = await openKeeperCore({ socketPath: near.keeperSocket });
  const blast = startTool(program, ["blast", ...socketArgs(connection.connection), "--interval", "0.5"], signal);
  try {
    await record.prove(`live rate ${name}`, async () => {
      const rates = await watchRates(sink, record, way);
      return `${Math.max(...rates.map(({ rxMpps }) => rxMpps)).toFixed(2)} million packets a second of 64 bytes arrive (${way}); this machine also makes and counts them`;
    });
    await record.prove(`worker killed with -9 at full rate, ${name}`, () => killWorker(core, sink));
    const mayDouble = to === near ? 0 : kills * burst;
    await record.prove(`every packet is accounted for ${name}`, () => account(core, sink, mayDouble, () => blast.stop()));
  } finally {
    await blast.stop().catch(() => {});
    await core.close();
    await connection.close();
    await sink.close();
  }
}

async function ping({ program, signal }: Stage, connection: ClientConnection): Promise<string> {
  const { own, other } = addressesOf(connection.connection);
  const times: number[] = [];
  const args = ["ping", ...socketArgs(connection.connection), "--from", own, "--to", other, "--count", "5", "--interval", "0.05"];
  const tool = startTool(program, args, signal, (line) => {
    if (typeof line["ms"] === "number") times.push(line["ms"]);
  });
  const code = await tool.ended;
  if (code !== 0) throw new Error(`no answer from ${other}: ${JSON.stringify(tool.last())}`);
  return `${times.length} of 5 answered, fastest ${Math.min(...times).toFixed(3)} ms`;
}

async function watchRates(sink: MemifEndpoint, record: Record, way: string): Promise<Totals[]> {
  const rates: Totals[] = [];
  const until = performance.now() + partMs;
  let before: Totals | undefined;
  while (performance.now() < until || rates.length === 0) {
    if (performance.now() > until + 10_000) throw new Error("no packet arrives");
    await pause(100);
    const now = sink.tool()?.last();
    if (now === undefined || now === before || now.received === 0) continue;
    before = now;
    rates.push(now);
    record.step(`${way}: ${now.rxMpps.toFixed(2)} Mpps, ${now.rxGbps.toFixed(2)} Gbit/s`);
  }
  return rates;
}

/** Kills it some times; how long no packet was forwarded, and whether a link went down. */
async function killWorker(core: PacketCore, sink: MemifEndpoint): Promise<string> {
  const connects = (await core.list()).filter(({ kind }) => kind === "connect");
  const joined = connects.at(-1);
  if (joined === undefined) throw new Error("the packet core has no cross-connect");
  const breaks = (): bigint => core.board.port(joined.portA).breaks + core.board.port(joined.portB).breaks;
  const before = breaks();
  const gaps: number[] = [];
  for (let kill = 0; kill < kills; kill++) {
    const { pid, starts } = core.board.worker();
    const killedAt = performance.now();
    process.kill(pid, "SIGKILL");
    while (core.board.worker().starts === starts) await pause(0);
    const count = core.board.direction(joined.slot, "ab").packets;
    while (core.board.direction(joined.slot, "ab").packets === count) {
      if (performance.now() - killedAt > 5_000) throw new Error("no packet after 5 s");
      await pause(0);
    }
    gaps.push(performance.now() - killedAt);
    await pause(300);
  }
  if (breaks() !== before) throw new Error("a link went down");
  if (sink.tool()?.last()?.up !== true) throw new Error("the endpoint lost its link");
  return `${kills} times; forwarding again after ${gaps.map((ms) => ms.toFixed(1)).join(", ")} ms, no link went down`;
}

async function account(core: PacketCore, sink: MemifEndpoint, mayDouble: number, stop: () => Promise<Totals>): Promise<string> {
  const joined = (await core.list()).filter(({ kind }) => kind === "connect").at(-1);
  const { sent } = await stop();
  if (joined === undefined) throw new Error("the packet core has no cross-connect");
  const counted = () => core.board.direction(joined.slot, "ab");
  const until = performance.now() + 3_000;
  while (counted().packets + counted().dropFull !== BigInt(sent) && performance.now() < until) await pause(20);
  const { packets, dropFull } = counted();
  if (packets + dropFull !== BigInt(sent)) throw new Error(`sent ${sent}, forwarded ${packets}, ring full ${dropFull}`);
  await pause(700);
  const last = sink.tool()?.last();
  if (last === undefined || last.doubled > mayDouble) throw new Error(`${last?.doubled} packets came twice`);
  return `sent ${sent} = forwarded ${packets} + dropped at a full ring ${dropFull}, exactly, over ${kills} deaths of the worker; ${last.doubled} came twice`;
}
