/** The shipped chains, heal machine and registry under virtual time: see simulate.mjs for more seeds. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { finish } from "../cli/isolated.js";

const script = fileURLToPath(new URL("simulate.mjs", import.meta.url));

interface Result {
  readonly ok: boolean;
  readonly summary: string;
  readonly broken: readonly { readonly seed: number; readonly broken: readonly string[]; readonly faults: readonly string[] }[];
  readonly mutants: readonly { readonly name: string; readonly caughtBySeed?: number }[];
  readonly differing?: readonly object[];
}

async function simulate(...argv: string[]): Promise<Result> {
  const { out, err } = await finish(spawn(process.execPath, [script, "--json", ...argv], { stdio: ["ignore", "pipe", "pipe"] }));
  assert.notEqual(out, "", err);
  return JSON.parse(out) as Result;
}

test("rows 7.5, 7.15, 11.1: 1,000 schedules of faults: no address and no VNI twice, no orphan at rest, every heal ends, monitors converge", async (t) => {
  const { summary, broken } = await simulate("--schedules", "1000", "--mutants", "none", "--workers", "2");
  t.diagnostic(summary);
  assert.deepEqual(broken, []);
});

test("every planted mistake is caught", async (t) => {
  const { summary, mutants } = await simulate("--schedules", "0", "--mutants", "quick", "--workers", "2");
  t.diagnostic(summary);
  assert.ok(mutants.length >= 20, `only ${mutants.length} mutants`);
  assert.deepEqual(
    mutants.filter(({ caughtBySeed }) => caughtBySeed === undefined).map(({ name }) => name),
    [],
  );
});

test("a seed plays the same twice", async () => {
  const { differing } = await simulate("--twice", "1", "--schedules", "5");
  assert.deepEqual(differing, []);
});
