import assert from "node:assert/strict";
import { test } from "node:test";
import { regressions } from "./regressions.js";
import type { BenchRow, BenchTable } from "./table.js";

const table = (...rows: BenchRow[]): BenchTable => ({ name: "t", title: "Table", method: "", rows });
const row = (value: number, unit = "ms", peer?: number): BenchRow => ({
  what: "x",
  value,
  unit,
  ...(peer !== undefined && { peer: { name: "Go", value: peer } }),
});

test("a figure that is worse by more than a fifth is named; with a peer, its ratio counts", () => {
  assert.deepEqual(regressions([table(row(11))], [table(row(10))]), []);
  assert.match(regressions([table(row(13))], [table(row(10))]).join(), /^Table: x: 10\.0 → 13\.0 ms, 1\.30 times as bad$/);
  assert.equal(regressions([table(row(100, "/s"))], [table(row(150, "/s"))]).length, 1);
  assert.equal(regressions([table(row(150, "/s"))], [table(row(100, "/s"))]).length, 0);
  // the machine is slower for both: nothing has become worse
  assert.deepEqual(regressions([table(row(20, "ms", 40))], [table(row(10, "ms", 20))]), []);
  assert.equal(regressions([table(row(20, "ms", 20))], [table(row(10, "ms", 20))]).length, 1);
  assert.deepEqual(regressions([table(row(10))], []), []);
});
