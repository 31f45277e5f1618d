/** A short rehearsal of faults with real processes and packets: the same command that operators have. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import type { RunResult } from "../../cli/chaos/run.js";
import { finish, weftScript } from "../cli/isolated.js";

async function chaos(...argv: string[]): Promise<{ readonly result: RunResult; readonly told: string }> {
  const child = spawn(process.execPath, [weftScript, "chaos", "--json", ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  const { out, err } = await finish(child);
  assert.notEqual(out, "", err);
  return { result: JSON.parse(out) as RunResult, told: err };
}

test("rows 7.1, 7.2, 7.4, 7.5, 7.8, 7.12: components killed, restarted and frozen under traffic in IPv4 and IPv6: no packet lost, nothing left", async (t) => {
  const kinds = "kill,restart,freeze,half-open,slow";
  const { result, told } = await chaos("--seed", "11", "--connections", "16", "--faults", "5", "--only", kinds);
  t.diagnostic(told);
  assert.equal(result.void, false, "the machine lost packets outside the mesh");
  assert.equal(result.lost, 0, told);
  assert.deepEqual(result.orphans, []);
  assert.ok(result.sent > 10_000, `only ${result.sent} packets were sent`);
  assert.equal(result.timeline.length, 5);
  const unwell = result.timeline.flatMap(({ broken }) => broken.filter((why) => why.startsWith("not well")));
  assert.deepEqual(unwell, [], told);
});
