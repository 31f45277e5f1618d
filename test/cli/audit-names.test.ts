/** weft audit: names in the registry whose process has gone. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { registryAuditor } from "../../cli/commands/registry-auditor.js";
import { listEndpoints } from "../../cli/view/sources.js";
import { audit } from "../../forwarder/audit/audit.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { startDomain } from "../../testing/start-domain.js";

test("row 11.2: the name of a process that was killed is told with its manager, and given back by --fix; living ones are not", async (t) => {
  await using domain = await startDomain({ nodes: 1 });
  const [node] = domain.nodes;
  const folder = mkdtempSync(join(tmpdir(), "wt-names-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const signal = AbortSignal.timeout(60_000);
  await node.serve({ name: "lives", services: ["svc"], cidrs: ["10.0.0.0/24"], signal });
  const path = join(folder, "killed.sock");
  const killed = spawn(
    process.execPath,
    ["-e", "require('net').createServer().listen(process.argv[1], () => console.log('up'))", path],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  t.after(() => killed.kill("SIGKILL"));
  await once(killed.stdout, "data");
  for (const [name, url] of [
    ["killed", `unix://${path}`],
    ["elsewhere", `unix://${folder}/of-another-mount-namespace.sock`],
  ]) {
    const entry = NetworkServiceEndpoint.fromPartial({ name: name ?? "", url: url ?? "", network_service_names: ["svc"] });
    await domain.dialer.endpointRegistry(node.url).register(entry, { signal });
  }
  const managers = [{ name: "nsmgr-1", url: node.url }];
  const auditorOf = (sameFiles: boolean) =>
    registryAuditor({ managers, dialer: domain.dialer, sameFiles, signal, patienceMs: 50 });
  assert.deepEqual((await audit([auditorOf(false)], { fix: true })).findings, [], "all are served, or cannot be seen from here");
  killed.kill("SIGKILL");
  await once(killed, "exit");
  const found = await audit([auditorOf(false)]);
  assert.deepEqual(
    found.findings.map(({ verdict, kind, name, owner }) => [verdict, kind, name.replace(/-[0-9a-f]+$/, ""), owner]),
    [["orphan", "name", "killed", "manager nsmgr-1"]],
  );
  assert.match(found.findings[0]?.detail ?? "", /nobody listens on unix:.*killed\.sock/);
  assert.equal(found.ok, false);
  assert.equal((await audit([auditorOf(false)], { fix: true })).ok, true);
  assert.deepEqual((await audit([auditorOf(false)])).findings, []);
  const here = await audit([auditorOf(true)], { fix: true });
  assert.deepEqual([here.ok, here.findings.length], [true, 1], "where the file would be, it is missed");
  const left = (await listEndpoints(domain.dialer, node.url, signal)).filter(
    ({ network_service_names: [service] }) => service === "svc",
  );
  assert.deepEqual(
    left.map(({ name }) => name.replace(/-[0-9a-f]+$/, "")),
    ["lives"],
  );
});
