/** What a VPP has against the ledger of the data plane vpp, with a real VPP. */
import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { silentLog } from "../../sdk/telemetry/log.js";
import { crossConnect, namespace, noSignal, numbered, pings, stateFolder } from "../dataplane/compliance-world.js";
import { createKernelDataPlane } from "../dataplane/kernel/kernel.js";
import { createVppDataPlane } from "../dataplane/vpp/vpp.js";
import { apiFolders, flatten, readApiFolders } from "../vpp/api-files.js";
import { findRealVpp } from "../vpp/testing/real-vpp.js";
import { audit, type Finding } from "./audit.js";
import { vppAuditor } from "./vpp-auditor.js";

const { program, skip } = findRealVpp(process.env);

test("§5: interfaces of VPP are accounted for; those of a lost ledger entry are orphans, --fix takes them away, and what is used stays", {
  skip,
}, async (t) => {
  const stateDir = stateFolder(t);
  const found = readApiFolders(apiFolders(program));
  const definitions = found && flatten(found);
  const beneath = createKernelDataPlane({ stateDir, log: silentLog });
  const plane = createVppDataPlane({
    ...{ stateDir, log: silentLog, beneath, command: [program], definitions, ephemeral: true },
  });
  t.after(() => plane.close());
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const [lost, gone] = [namespace(t, "lost"), namespace(t, "gone")];
  await plane.ensure(crossConnect("c1", numbered(client, endpoint)), noSignal);
  assert.ok(await pings(client, "172.16.0.0"));
  const ledger = join(stateDir, "vpp-cross-connects");
  const kept = new Set(readdirSync(ledger));
  await plane.ensure(crossConnect("c2", numbered(lost, gone)), noSignal);
  const look = (fix: boolean) => audit([vppAuditor([stateDir], { definitions })], { fix });
  const all = await look(true);
  assert.deepEqual([all.ok, all.findings, all.accounted], [true, [], 4]);

  for (const file of readdirSync(ledger)) if (!kept.has(file)) rmSync(join(ledger, file));
  const report = await look(false);
  assert.deepEqual([report.ok, verdicts(report.findings), report.accounted], [false, ["orphan", "orphan"], 2]);
  for (const { owner, name } of report.findings) assert.match(`${owner}: ${name}`, /^ledger .*: af_packet \d+ in VPP$/);
  const fixed = await look(true);
  assert.ok(fixed.findings.every((finding) => finding.fixed === true));
  assert.deepEqual((await look(false)).findings, []);
  assert.ok(await pings(client, "172.16.0.0"), "the other connection goes on");
});

function verdicts(findings: readonly Finding[]): string[] {
  return findings.map(({ verdict }) => verdict);
}
