import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { spawnInNetns } from "../../../sdk/linux/netns.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openKeeperCore } from "../../native/keeper-client.js";
import { notBuilt, runTool, socketName } from "../../native/testing/tool.js";
import { crossConnect, namespace, noSignal, numbered, stateFolder } from "../compliance-world.js";
import type { DataPlane } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createFastDataPlane } from "./fast.js";

test("row 7.1: a restarted forwarder takes its memif connection up again, and the link has not noticed", {
  skip: notBuilt() ?? false,
}, async (t) => {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const stateDir = stateFolder(t);
  const socketPath = join(stateDir, "core");
  const socketFile = socketName("client");
  const memif = { kind: "memif", role: "server", socketFile, netnsUrl: client.url } as const;
  const made = crossConnect("c1", { client: memif, endpoint: numbered(client, endpoint).endpoint });
  const open = (): DataPlane => planeWithCore(stateDir, socketPath);
  const first = open();
  await first.recover(0);
  await first.ensure(made, noSignal);
  const place = ["--socket", socketFile, "--netns", `/run/netns/${client.name}`, "--from", "172.16.0.1", "--to", "172.16.0.0"];
  const ping = runTool(t, ["ping", ...place, "--count", "1000000", "--interval", "0.01", "--seconds", "60"]);
  const answers = (): number => ping.lines.length;
  await ping.until(() => answers() > 5);
  await first.close();
  const whileAway = answers();
  await ping.until(() => answers() > whileAway + 5);

  const second = open();
  assert.deepEqual((await second.recover(0)).adopted, [made]);
  const core = await openKeeperCore({ socketPath });
  const entries = await core.list();
  assert.equal(entries.filter(({ kind }) => kind === "connect").length, 1);
  assert.deepEqual(
    entries.filter(({ kind }) => kind === "memif").map(({ slot }) => [core.board.link(slot), core.board.port(slot).breaks]),
    [["up", 0n]],
  );
  assert.equal(core.board.worker().starts, 1);
  await core.close();
  const afterwards = answers();
  await ping.until(() => answers() > afterwards + 5);
  await second.remove("c1", noSignal);
  assert.deepEqual([second.list(), await second.objects()], [[], []]);
  await second.close();
});

test("row 7.6: the process by which a pod's namespace was named is gone when the next forwarder starts; the rings of another one there go on", {
  skip: notBuilt() ?? false,
}, async (t) => {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const stateDir = stateFolder(t);
  const socketPath = join(stateDir, "core");
  const [memifFile, kernelFile] = [socketName("memif"), socketName("kernel")];
  const [one, other] = [client, endpoint].map((at) => spawnInNetns(at.netns, "sleep", ["600"], { stdio: "ignore" }));
  t.after(() => [one, other].map((child) => child?.kill("SIGKILL")));
  const urls = [one, other].map((child) => `file:///proc/${child?.pid}/ns/net`) as [string, string];
  const memif = { kind: "memif", role: "server", socketFile: memifFile, netnsUrl: urls[0] } as const;
  const far = { ...numbered(client, endpoint).endpoint, netnsUrl: urls[1] };
  const near = { kind: "memif", role: "server", socketFile: kernelFile, netnsUrl: urls[0] } as const;
  const proxied = { ...memif, role: "client", socketFile: socketName("peer"), netnsUrl: urls[1] } as const;
  const made = [crossConnect("c1", { client: near, endpoint: far }), crossConnect("c2", { client: memif, endpoint: proxied })];
  const open = (): DataPlane => planeWithCore(stateDir, socketPath);
  const first = open();
  await first.recover(0);
  for (const each of made) await first.ensure(each, noSignal);
  const place = ["--socket", kernelFile, "--netns", `/run/netns/${client.name}`, "--from", "172.16.0.1", "--to", "172.16.0.0"];
  const ping = runTool(t, ["ping", ...place, "--count", "60000", "--interval", "0.01", "--seconds", "60"]);
  await ping.until(() => ping.lines.length > 5);
  await first.close();
  for (const child of [one, other]) {
    const gone = once(child as ChildProcess, "close");
    child?.kill("SIGKILL");
    await gone;
  }
  const second = open();
  const { adopted } = await second.recover(0);
  assert.deepEqual(adopted.map(({ id }) => id).sort(), ["c1", "c2"]);
  const core = await openKeeperCore({ socketPath });
  const memifs = (await core.list()).filter(({ kind }) => kind === "memif");
  assert.deepEqual(
    memifs.map(({ slot }) => [core.board.link(slot), core.board.port(slot).breaks]),
    [["up", 0n]],
  );
  await core.end();
  const afterwards = ping.lines.length;
  await ping.until(() => ping.lines.length > afterwards + 5);
  for (const { id } of made) await second.remove(id, noSignal);
  assert.deepEqual([second.list(), await second.objects()], [[], []]);
  await second.close();
});

function planeWithCore(stateDir: string, socketPath: string): DataPlane {
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  const shape = { coreTunnels: false, directMemif: true, alwaysJoin: false };
  return createFastDataPlane({ stateDir, log: silentLog, kernel, openCore: () => openKeeperCore({ socketPath }), shape });
}
