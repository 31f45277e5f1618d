/** The packet core's ports against the ledger of the fast data plane, with a real keeper. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { deleteNamedNetns } from "../../sdk/linux/netns.js";
import { netnsFolder } from "../../sdk/linux/netns-url.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { until } from "../../sdk/testing/until.js";
import { crossConnect, inventory, namespace, noSignal, numbered, stateFolder } from "../dataplane/compliance-world.js";
import type { DataPlane } from "../dataplane/dataplane.js";
import { createFastDataPlane } from "../dataplane/fast/fast.js";
import { patchRoomName } from "../dataplane/fast/patch-room.js";
import { createKernelDataPlane } from "../dataplane/kernel/kernel.js";
import type { PacketCore } from "../native/core.js";
import { openKeeperCore } from "../native/keeper-client.js";
import { notBuilt, socketName } from "../native/testing/tool.js";
import { type AuditReport, audit, type Finding } from "./audit.js";
import { fastAuditor } from "./fast-auditor.js";
import { kernelAuditor } from "./kernel-auditor.js";

const skip = notBuilt() ?? false;

test("memif to an interface and memif to memif are accounted for; --fix touches nothing, also while connections come and go", {
  skip,
}, async (t) => {
  const { plane, core, look } = await build(t);
  const entries = await core.list();
  const report = await look(true);
  assert.deepEqual([report.ok, ours(report.findings)], [true, []]);
  // a cross-connect and its two ports, a proxy, and the kernel's part
  assert.ok(report.accounted >= 4, `${report.accounted}`);
  assert.deepEqual(await core.list(), entries);
  let rounds = 0;
  let over = false;
  const churn = (async () => {
    for (; !over; rounds++) {
      await plane.ensure(proxied("churn"), noSignal);
      await plane.remove("churn", noSignal);
    }
  })();
  const busy: AuditReport[] = [];
  while (rounds < 50) busy.push(await look(true));
  over = true;
  await churn;
  assert.deepEqual(
    busy.flatMap(({ findings }) => ours(findings)),
    [],
  );
  assert.deepEqual(await core.list(), entries);
});

test("§5: ports whose ledger entry got lost, and one that nobody ever noted, are orphans; --fix takes them out of the packet core", {
  skip,
}, async (t) => {
  const { close, core, stateDir, look, client } = await build(t);
  await close();
  await core.addPort({ name: "stray", kind: "memif", mode: "ethernet", role: "server", path: socketName("stray") });
  for (const file of readdirSync(join(stateDir, "fast"))) rmSync(join(stateDir, "fast", file));
  const report = await look(false);
  assert.equal(report.ok, false);
  const orphans = ours(report.findings).filter(({ verdict }) => verdict === "orphan");
  assert.deepEqual(kinds(orphans), ["cross-connect", "port memif", "port memif", "port packet", "port proxy"]);
  for (const { owner } of orphans) assert.equal(owner, `ledger ${stateDir}`);
  assert.equal((await core.list()).length, 5, "without --fix nothing is touched");
  const fixed = await look(true);
  assert.ok(
    ours(fixed.findings).every((finding) => finding.fixed === true),
    JSON.stringify(fixed.findings),
  );
  assert.deepEqual(await core.list(), []);
  assert.ok(
    inventory(client).some((line) => line.startsWith("link nsm-1")),
    "the ledger of the kernel still has the interface",
  );
});

test("a keeper that died: what the ledger has is missing; when it has nothing, the namespace of the core is left, and goes", {
  skip,
}, async (t) => {
  const { close, core, stateDir, look } = await build(t);
  await close();
  const gone = new Promise<void>((resolve) => core.onLost(resolve));
  process.kill(keeperOf(core), "SIGKILL");
  await gone;
  const report = await look(true);
  const missing = ours(report.findings).filter(({ verdict }) => verdict === "missing");
  assert.deepEqual(missing.map(({ kind, owner }) => `${kind} ${owner}`).sort(), [
    "cross-connect connection joined",
    "cross-connect connection proxied",
  ]);
  for (const folder of ["fast", "cross-connects"])
    for (const file of readdirSync(join(stateDir, folder))) rmSync(join(stateDir, folder, file));
  const left = await look(true);
  assert.ok(
    left.findings.some(({ kind, fixed }) => kind === "namespace" && fixed === true),
    JSON.stringify(left.findings),
  );
  await until("nothing to be left", async () => (await look(false)).ok);
});

function proxied(id: string) {
  const memif = (role: "server" | "client") => ({ kind: "memif", role, socketFile: socketName(id), netnsUrl: "" }) as const;
  return crossConnect(id, { client: memif("server"), endpoint: memif("client") });
}

/** It is the worker's parent: fields after the name, which may hold anything, are state and parent (proc(5)). */
function keeperOf({ board }: PacketCore): number {
  const stat = readFileSync(`/proc/${board.worker().pid}/stat`, "utf8");
  return Number(stat.split(") ")[1]?.split(" ")[1]);
}

/** "joined": memif to an interface; "proxied": memif to memif. */
async function build(t: TestContext) {
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const stateDir = stateFolder(t);
  const socketPath = join(stateDir, "core.sock");
  const kernel = createKernelDataPlane({ stateDir, log: silentLog });
  const shape = { coreTunnels: false, directMemif: true, alwaysJoin: false };
  const plane: DataPlane = createFastDataPlane({
    ...{ stateDir, log: silentLog, kernel, shape },
    openCore: () => openKeeperCore({ socketPath }),
  });
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= plane.close();
    return closing;
  };
  t.after(async () => {
    await close();
    // it stays for the next forwarder as long as there are connections
    const room = patchRoomName(stateDir);
    if (existsSync(`${netnsFolder}/${room}`)) deleteNamedNetns(room);
  });
  await plane.recover(0);
  const memif = { kind: "memif", role: "server", socketFile: socketName("joined"), netnsUrl: "" } as const;
  await plane.ensure(crossConnect("joined", { client: numbered(client, endpoint).client, endpoint: memif }), noSignal);
  await plane.ensure(proxied("proxied"), noSignal);
  const core: PacketCore = await openKeeperCore({ socketPath });
  t.after(() => core.end().catch(() => {}));
  const look = (fix: boolean) => audit([kernelAuditor([stateDir]), fastAuditor([stateDir])], { fix });
  return { plane, close, core, stateDir, look, client };
}

/** Other tests of this place may have left theirs to others. */
function ours(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ verdict, name }) => verdict !== "foreign" && name.includes("packet core"));
}

function kinds(findings: readonly Finding[]): string[] {
  return findings.map(({ kind, name }) => (kind === "port" ? `port ${/\((\w+)\)/.exec(name)?.[1]}` : kind)).sort();
}
