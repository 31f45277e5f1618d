import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { notBuilt } from "../../forwarder/native/testing/tool.js";
import { inUserNamespace } from "../../sdk/linux/netns.js";
import { finish, weftScript } from "../cli/isolated.js";

const expected = [
  "memif connection from node-1 to an endpoint of node-2",
  "ping through shared memory, VXLAN and shared memory",
  "live rate across two nodes",
  "worker killed with -9 at full rate, across two nodes",
  "every packet is accounted for across two nodes",
  "live rate within a node",
  "worker killed with -9 at full rate, within a node",
  "every packet is accounted for within a node",
  "everything is removed",
];

const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
const [program = "", ...reach] = [...nobody, process.execPath, weftScript, "--version"];
const noOther =
  inUserNamespace() || spawnSync(program, reach).status !== 0 ? "another user may not read this checkout" : undefined;

const ways = [
  { name: "weft demo --fast", prefix: [], args: ["demo", "--fast", "--json"], why: notBuilt(), says: /memif between two nodes/ },
  {
    name: "weft demo where neither root nor user namespaces are allowed shows the memif mesh, and says so",
    // Without `unshare` in the path there are none.
    prefix: [...nobody, "env", "PATH=/nowhere"],
    args: ["demo", "--json"],
    why: notBuilt() ?? noOther,
    says: /neither root's rights nor user namespaces/,
  },
];

for (const { name, prefix, args, why, says } of ways) {
  test(`${name}: every proof holds, nothing is left`, { timeout: 115_000, skip: why ?? false }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "wd"));
    if (process.getuid?.() === 0) chownSync(folder, 65_534, 65_534);
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const [command = "", ...argv] = [...prefix, process.execPath, weftScript, ...args];
    const { code, out, err } = await finish(spawn(command, argv, { env: { ...process.env, HOME: folder, TMPDIR: folder } }));
    assert.notEqual(out, "", err);
    const report = JSON.parse(out) as { ok: boolean; proofs: { name: string; ok: boolean; detail: string }[] };
    assert.deepEqual(
      report.proofs.filter(({ ok }) => !ok),
      [],
      err,
    );
    assert.deepEqual(
      report.proofs.map((proof) => proof.name),
      expected,
    );
    assert.match(err, says);
    assert.equal(code, 0);
  });
}
