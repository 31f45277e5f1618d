/** Limits of rate and classes of traffic, with packets: what is limited passes the core, whatever its ports are. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { type TestContext, test } from "node:test";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openInProcessCore } from "../../native/in-process.js";
import { notBuilt, runTool, socketName } from "../../native/testing/tool.js";
import { crossConnect, namespace, noSignal, numbered, pings, stateFolder } from "../compliance-world.js";
import type { DataPlane, MemifPort } from "../dataplane.js";
import { createKernelDataPlane } from "../kernel/kernel.js";
import { createFastDataPlane } from "./fast.js";

const skip = notBuilt() ?? false;
const noNft = spawnSync("nft", ["--version"]).error === undefined ? false : "nft is missing: apt-get install nftables";

for (const [name, dscp] of [
  ["EF", 46],
  ["best effort", 0],
] as const) {
  test(`interfaces of two pods with the class ${name}: every packet arrives with it, both ways`, {
    skip: skip || noNft,
  }, async (t) => {
    const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
    const plane = open(t);
    const traffic = { upBitsPerSecond: 0, downBitsPerSecond: 0, dscp };
    await plane.ensure(crossConnect("c1", numbered(client, endpoint), { traffic }), noSignal);
    const rules = [
      "table inet wt {",
      " chain in { type filter hook input priority 0;",
      `  icmp type { echo-request, echo-reply } ip dscp ${dscp} counter`,
    ];
    for (const { name } of [client, endpoint])
      execFileSync("ip", ["netns", "exec", name, "nft", "-f", "-"], { input: [...rules, " }", "}"].join("\n") });
    for (let sent = 0; sent < 3; sent++) assert.ok(await pings(client, "172.16.0.0"));
    for (const { name } of [client, endpoint]) {
      const listed = execFileSync("ip", ["netns", "exec", name, "nft", "list", "table", "inet", "wt"], { encoding: "utf8" });
      assert.match(listed, /counter packets 3 /, listed);
    }
    await plane.ensure(crossConnect("c1", numbered(client, endpoint), { generation: 2 }), noSignal);
    assert.ok(await pings(client, "172.16.0.0"), "without a class again");
    await plane.remove("c1", noSignal);
    assert.deepEqual(await plane.objects(), []);
  });
}

test("memif to memif on one node with a limit passes the core, which drops what is above it and counts that", {
  skip,
}, async (t) => {
  const plane = open(t);
  const [a, b] = [socketName("a"), socketName("b")];
  const memif = (socketFile: string, role: MemifPort["role"]): MemifPort => ({ kind: "memif", role, socketFile, netnsUrl: "" });
  const ports = { client: memif(a, "server"), endpoint: memif(b, "client") };
  const traffic = { upBitsPerSecond: 8_000_000, downBitsPerSecond: 0 };
  const sink = runTool(t, ["sink", "--server", "--socket", b, "--interval", "0.05"]);
  await plane.ensure(crossConnect("c1", ports, { traffic }), noSignal);
  await sink.until(({ up }) => up);
  const count = 20_000;
  await runTool(t, ["blast", "--socket", a, "--count", String(count), "--size", "1000"]).ended;
  const counters = await plane.counters("c1");
  assert.ok(counters !== undefined, "a connection with a limit has counters: it is no pair that shares its rings");
  assert.equal(counters.txPackets + counters.drops, BigInt(count));
  assert.ok(counters.drops > 1_000n && counters.txBytes >= 60_000n, `${counters.drops} of ${count} were dropped`);
});

function open(t: TestContext): DataPlane {
  const stateDir = stateFolder(t);
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  const shape = { coreTunnels: false, directMemif: true, alwaysJoin: false };
  const openCore = async () => openInProcessCore();
  const plane = createFastDataPlane({ stateDir, log: silentLog, kernel, openCore, shape, ephemeral: true });
  t.after(() => plane.close());
  return plane;
}
