/** The shipped chains, heal machine and registry under virtual time: see simulate.mjs for more seeds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { simulate } from "./run-simulate.js";

test("rows 7.5, 7.15, 11.1: 1,000 schedules of faults: no address and no VNI twice, no orphan at rest, every heal ends, monitors converge", async (t) => {
  const { summary, broken } = await simulate("--schedules", "1000", "--mutants", "none", "--workers", "2");
  t.diagnostic(summary);
  assert.deepEqual(broken, []);
});

test("a seed plays the same twice", async () => {
  const { differing } = await simulate("--twice", "1", "--schedules", "5");
  assert.deepEqual(differing, []);
});
