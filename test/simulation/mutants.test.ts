/** What the simulation is worth: mistakes planted into the code that it plays. A file of its own, because it takes as long as a file may. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { simulate } from "./run-simulate.js";

test("every planted mistake is caught", async (t) => {
  const { summary, mutants } = await simulate("--schedules", "0", "--mutants", "quick", "--workers", "2");
  t.diagnostic(summary);
  assert.ok(mutants.length >= 20, `only ${mutants.length} mutants`);
  assert.deepEqual(
    mutants.filter(({ caughtBySeed }) => caughtBySeed === undefined).map(({ name }) => name),
    [],
  );
});
