/** Ledgers against the kernel, with real objects: what is an orphan, what is missing, what is somebody else's. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { AF_INET } from "../../sdk/linux/libc.js";
import { parseAddress, parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createVeth, listLinks, setLink } from "../../sdk/linux/netlink/links.js";
import { setNeighbor } from "../../sdk/linux/netlink/neighbors.js";
import { addRoute, mainTable, weftProtocol } from "../../sdk/linux/netlink/routes.js";
import { addRule, listRules } from "../../sdk/linux/netlink/rules.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { deleteByHand } from "../dataplane/compliance-faults.js";
import {
  crossConnect,
  inventory,
  linkIn,
  namespace,
  noSignal,
  numbered,
  port,
  stateFolder,
} from "../dataplane/compliance-world.js";
import { createKernelDataPlane } from "../dataplane/kernel/kernel.js";
import { audit } from "./audit.js";
import { kernelAuditor } from "./kernel-auditor.js";

const policies = [
  { from: "172.16.0.1/32", protocol: 6, sourcePorts: undefined, destinationPorts: undefined, routes: [] },
] as const;

test("a working data plane is accounted for: interfaces, policy rules; nothing is touched by --fix", async (t) => {
  const { stateDir, client, endpoint } = await build(t);
  const before = [inventory(client), inventory(endpoint)];
  const report = await audit([kernelAuditor([stateDir])], { fix: true });
  assert.deepEqual(ours(report.findings), []);
  assert.ok(report.accounted >= 3, `${report.accounted}`);
  assert.deepEqual([inventory(client), inventory(endpoint)], before);
});

test("an entry that got lost leaves orphans, named with their owner; --fix takes them away and nothing else", async (t) => {
  const { stateDir, plane, client, endpoint } = await build(t);
  const empty = [inventory(endpoint)];
  const lost = copyOf(t, stateDir);
  await plane.close();
  rmSync(join(lost, "cross-connects"), { recursive: true });
  const report = await audit([kernelAuditor([lost])]);
  assert.equal(report.ok, false);
  const orphans = report.findings.filter(({ verdict }) => verdict === "orphan");
  assert.deepEqual(
    orphans.map(({ kind, name }) => `${kind} ${name}`).sort(),
    ["link nse-1", "link nse-2", "link nsm-1", "link nsm-2"].sort(),
  );
  assert.match(orphans[0]?.owner ?? "", /^(server|client)-test, ledger .*wt-/);
  assert.deepEqual([inventory(endpoint)], empty, "without --fix nothing is touched");
  const fixed = await audit([kernelAuditor([lost])], { fix: true });
  assert.ok(fixed.findings.every(({ fixed }) => fixed === true));
  assert.deepEqual(
    listLinks(client.socket).map(({ name }) => name),
    ["lo"],
  );
  assert.ok(
    fixed.findings.some(({ kind }) => kind === "rule"),
    "the table went with the interface",
  );
  assert.deepEqual(
    listRules(client.socket, AF_INET).filter(({ protocol }) => protocol === weftProtocol),
    [],
  );
  assert.equal((await audit([kernelAuditor([lost])])).ok, true);
});

test("what is missing is told: an interface and a rule that somebody deleted", async (t) => {
  const { stateDir, client } = await build(t);
  await deleteByHand(client, "nsm-1");
  const report = await audit([kernelAuditor([stateDir])], { fix: true });
  assert.equal(report.ok, false, JSON.stringify(report));
  const missing = report.findings
    .filter(({ verdict }) => verdict === "missing")
    .map(({ kind, name, owner }) => `${kind} ${name} ${owner}`);
  assert.deepEqual(missing.sort(), ["link nse-1 connection c1", "link nsm-1 connection c1"]);
});

test("of others nothing is touched: another ledger's interfaces, unmarked ones, a rule where another ledger works", async (t) => {
  const { client, endpoint, stateDir: theirs } = await build(t);
  const mine = await build(t);
  const pair = { macAddress: "02:00:00:00:00:09", mtuBytes: 1400 };
  client.socket.perform([
    createVeth({ ...pair, netns: client.netns, name: "other" }, { ...pair, netns: endpoint.netns, name: "other" }),
  ]);
  const rule = { family: AF_INET, priority: 20_500, from: undefined, ipProtocol: 0, table: 240, protocol: weftProtocol } as const;
  client.socket.perform([addRule({ ...rule, sourcePorts: undefined, destinationPorts: undefined })]);
  const before = [inventory(client), inventory(endpoint)];
  const report = await audit([kernelAuditor([mine.stateDir])], { fix: true });
  assert.equal(report.ok, true);
  assert.ok(report.findings.every(({ verdict, fixed }) => verdict === "foreign" && fixed === undefined));
  assert.ok(report.findings.some(({ name }) => name.includes("nsm-1")));
  assert.ok(!report.findings.some(({ name }) => name === "other"));
  assert.deepEqual([inventory(client), inventory(endpoint)], before);
  assert.ok(linkIn(client, "nsm-1"));
  void theirs;
});

test("row 11.1: a route, a neighbour and a rule of ours that the ledger does not have, on an interface of a living connection: named with it; --fix takes them away and leaves what the workload put there", async (t) => {
  const { stateDir, client, endpoint } = await build(t);
  const before = [inventory(client), inventory(endpoint)];
  const linkIndex = linkIn(client, "nsm-2")?.index ?? 0;
  const [own, table] = [
    weftProtocol,
    listRules(client.socket, AF_INET).find(({ protocol }) => protocol === weftProtocol)?.table ?? 0,
  ];
  const route = (prefix: string, protocol: number) =>
    addRoute({ prefix: parsePrefix(prefix), gateway: undefined, linkIndex, table: mainTable, protocol, metric: 0 }, "exclusive");
  const rule = (protocol: number) =>
    addRule({
      ...{ family: AF_INET, priority: 20_007, from: parsePrefix("172.16.9.9/32"), ipProtocol: 0, table, protocol },
      ...{ sourcePorts: undefined, destinationPorts: undefined },
    });
  const [bootProtocol, mac] = [3, "02:00:00:00:00:99"];
  const byHand = ["neighbour", "add", "10.97.0.2", "lladdr", mac, "dev", "nsm-2", "nud", "permanent"];
  client.socket.perform([route("10.97.0.0/24", bootProtocol), rule(bootProtocol)]);
  execFileSync("ip", ["-n", client.name, ...byHand]);
  const theirs = inventory(client);
  client.socket.perform([route("10.98.0.0/24", own), rule(own), setNeighbor(linkIndex, parseAddress("10.98.0.2"), mac)]);

  const { ok, findings } = await audit([kernelAuditor([stateDir])]);
  assert.equal(ok, false);
  assert.deepEqual(
    ours(findings)
      .map(({ verdict, kind, name, owner }) => `${verdict} ${kind} ${name} of ${owner}`)
      .sort(),
    [
      "orphan neighbor 10.98.0.2 dev nsm-2 of connection c2",
      "orphan route 10.98.0.0/24 table 254 dev nsm-2 of connection c2",
      `orphan rule 20007: lookup ${table} of connection c2`,
    ],
  );
  const fixed = await audit([kernelAuditor([stateDir])], { fix: true });
  assert.ok(
    ours(fixed.findings).every(({ fixed }) => fixed === true),
    JSON.stringify(fixed.findings),
  );
  assert.deepEqual(inventory(client), theirs);
  assert.deepEqual(inventory(endpoint), before[1]);
  assert.equal((await audit([kernelAuditor([stateDir])])).ok, true);
});

test("an interface that somebody renamed or took the mark from is still accounted for", async (t) => {
  const { stateDir, client } = await build(t);
  const index = linkIn(client, "nsm-2")?.index ?? 0;
  client.socket.perform([setLink(index, { name: "renamed", group: 0 })]);
  const report = await audit([kernelAuditor([stateDir])]);
  assert.deepEqual(ours(report.findings), []);
});

test("under churn nothing is called an orphan: the audit runs while cross-connects come and go", async (t) => {
  const { stateDir, plane, client, endpoint } = await build(t);
  let over = false;
  const churn = (async () => {
    for (let turn = 0; turn < 60; turn++) {
      const id = `churn-${turn}`;
      const change = { interfaceName: `ch-${turn % 4}` };
      await plane.ensure(
        crossConnect(id, {
          client: port(client, change),
          endpoint: port(endpoint, { ...change, interfaceName: `ce-${turn % 4}` }),
        }),
        noSignal,
      );
      await plane.remove(id, noSignal);
    }
    over = true;
  })();
  let audits = 0;
  while (!over) {
    audits += 1;
    const { findings } = await audit([kernelAuditor([stateDir])], { fix: true });
    assert.deepEqual(ours(findings), []);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await churn;
  t.diagnostic(`${audits} audits`);
});

/** Two cross-connects, one of them with a policy rule. */
async function build(t: TestContext) {
  const stateDir = stateFolder(t);
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const plane = createKernelDataPlane({ stateDir, log: silentLog });
  t.after(() => plane.close().catch(() => {}));
  await plane.ensure(crossConnect("c1", numbered(client, endpoint)), noSignal);
  const two = numbered(client, endpoint, 1);
  const named = {
    client: { ...two.client, interfaceName: "nsm-2", policies },
    endpoint: { ...two.endpoint, interfaceName: "nse-2" },
  };
  await plane.ensure(crossConnect("c2", named), noSignal);
  return { stateDir, plane, client, endpoint };
}

/** Other tests of this machine may have objects of their own. */
function ours<T extends { readonly verdict: string }>(findings: readonly T[]): T[] {
  return findings.filter(({ verdict }) => verdict !== "foreign");
}

function copyOf(t: TestContext, stateDir: string): string {
  const folder = mkdtempSync(join(tmpdir(), "wt-ledger-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(stateDir, folder, { recursive: true });
  return folder;
}
