/** memif connections come and go, and forwarders with them: what keeper and worker hold is the same afterwards. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { deleteNamedNetns } from "../../../sdk/linux/netns.js";
import { netnsFolder } from "../../../sdk/linux/netns-url.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { until } from "../../../sdk/testing/until.js";
import type { PacketCore } from "../../native/core.js";
import { openKeeperCore } from "../../native/keeper-client.js";
import { notBuilt, runTool, socketName } from "../../native/testing/tool.js";
import { crossConnect, namespace, noSignal, numbered, stateFolder } from "../compliance-world.js";
import type { CrossConnect, DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createFastDataPlane } from "./fast.js";
import { patchRoomName } from "./patch-room.js";

const cycles = 100;
/** So often the forwarder goes in the middle of a cycle, and the next one takes over. */
const restartEvery = 8;
/** Before these everything has the size it needs. */
const warmUp = 16;

test("rows 7.1, 11.1: 100 cycles of memif connections with forwarders that restart: descriptors, memory, ports and numbers of interfaces are back", {
  skip: notBuilt() ?? false,
}, async (t) => {
  const stateDir = stateFolder(t);
  const socketPath = join(stateDir, "core.sock");
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  let plane = openPlane(stateDir);
  await plane.recover(0);
  const core = await openKeeperCore({ socketPath });
  t.after(async () => {
    await plane.close();
    await core.end();
    const room = patchRoomName(stateDir);
    if (existsSync(`${netnsFolder}/${room}`)) deleteNamedNetns(room);
  });
  let first: Holdings | undefined;
  for (let cycle = 0; cycle < cycles; cycle++) {
    const [near, far, single] = ["near", "far", "single"].map((name) => socketName(name)) as [string, string, string];
    const proxied = crossConnect(`proxied-${cycle}`, { client: memif("server", near), endpoint: memif("client", far) });
    const joined = crossConnect(`joined-${cycle}`, {
      client: numbered(client, endpoint).client,
      endpoint: memif("client", single),
    });
    const echoes = [far, single].map((path) => runTool(t, ["echo", "--server", "--socket", path, "--interval", "3600"]));
    await plane.ensure(proxied, noSignal);
    await plane.ensure(joined, noSignal);
    const answered = await runTool(t, ["ping", ...pingArgs(near), "--count", "2", "--interval", "0.01"]).ended;
    assert.equal(answered, 0, `cycle ${cycle}`);
    await bothUp(core, joined);
    if (cycle % restartEvery === 0) {
      await plane.close();
      plane = openPlane(stateDir);
      const { adopted } = await plane.recover(0);
      assert.deepEqual(adopted.map(({ id }) => id).sort(), [joined.id, proxied.id]);
    }
    for (const { id } of [proxied, joined]) await plane.remove(id, noSignal);
    for (const { process } of echoes) process.kill();
    await Promise.all(echoes.map(({ ended }) => ended));
    if (cycle === warmUp) first = await settled(core);
  }
  assert.ok(first);
  const last = await settled(core);
  t.diagnostic(`${JSON.stringify(first)} after ${warmUp} cycles, ${JSON.stringify(last)} after ${cycles}`);
  assert.deepEqual([last.ports, last.keeper, last.worker], [[], first.keeper, first.worker]);
  assert.equal(last.memories, first.memories);
  assert.ok(last.residentKiB < first.residentKiB + 1_024, "keeper and worker together grow by less than 1 MiB");
  assert.deepEqual([await plane.objects(), plane.list()], [[], []]);
});

function memif(role: "server" | "client", socketFile: string) {
  return { kind: "memif", role, socketFile, netnsUrl: "" } as const;
}

function pingArgs(socket: string): string[] {
  return ["--socket", socket, "--from", "172.16.0.1", "--to", "172.16.0.0"];
}

function openPlane(stateDir: string): DataPlane {
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  const shape = { coreTunnels: false, directMemif: true, alwaysJoin: false };
  const openCore = (): Promise<PacketCore> => openKeeperCore({ socketPath: join(stateDir, "core.sock") });
  return createFastDataPlane({ stateDir, log: silentLog, kernel, openCore, shape });
}

async function bothUp(core: PacketCore, { id }: CrossConnect): Promise<void> {
  await until(`the rings of ${id}`, async () => {
    const ports = (await core.list()).filter(({ kind }) => kind === "memif");
    return ports.length === 1 && ports.every(({ slot }) => core.board.link(slot) === "up");
  });
}

interface Holdings {
  readonly ports: readonly string[];
  /** Descriptors. */
  readonly keeper: number;
  readonly worker: number;
  /** Memory files of rings that either has mapped or open. */
  readonly memories: number;
  readonly residentKiB: number;
}

/** Links end a moment after their ports. */
async function settled(core: PacketCore): Promise<Holdings> {
  let before = "";
  return await until("keeper and worker to come to rest", async () => {
    const now = await holdings(core);
    const seen = JSON.stringify({ ...now, residentKiB: 0 });
    const same = seen === before;
    before = seen;
    return same && now.ports.length === 0 && now.memories === 0 && now;
  });
}

async function holdings(core: PacketCore): Promise<Holdings> {
  const { pid } = core.board.worker();
  const parent = Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1]);
  const [keeper, worker] = [parent, pid].map(linksOf) as [string[], string[]];
  const mapped = [parent, pid].flatMap((each) => readFileSync(`/proc/${each}/maps`, "utf8").split("\n"));
  return {
    ports: (await core.list()).map(({ name }) => name),
    keeper: keeper.length,
    worker: worker.length,
    memories: [...keeper, ...worker, ...mapped].filter((text) => text.includes("weft-memif")).length,
    residentKiB: [parent, pid].reduce((sum, each) => sum + residentKiB(each), 0),
  };
}

function linksOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return []; // closed meanwhile
    }
  });
}

function residentKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}
