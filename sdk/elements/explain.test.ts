import assert from "node:assert/strict";
import { test } from "node:test";
import { createJournal } from "./explain.js";

test("decisions are kept per connection, oldest first, and bounded", () => {
  const journal = createJournal({ maxConnections: 2, maxPerConnection: 2, nowMs: () => 1500 });
  for (const rule of ["one", "two", "three"]) journal.note("a", "choose-endpoint", "nse", "REFUSED", rule);
  journal.note("b", "choose-endpoint", "nse", "CHOSEN", "x".repeat(10_000));
  assert.deepEqual(
    journal.explain("a").map(({ rule }) => rule),
    ["two", "three"],
  );
  assert.deepEqual(journal.explain("a")[0]?.at, { seconds: 1, nanos: 500_000_000 });
  assert.equal(journal.explain("b")[0]?.rule.length, 500);
  journal.note("c", "choose-endpoint", "nse", "CHOSEN", "third connection");
  assert.deepEqual(journal.explain("a"), []);
  assert.equal(journal.explain("").length, 2);
  assert.deepEqual(journal.explain("unknown"), []);
});
