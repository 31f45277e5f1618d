import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openLedger } from "./ledger.js";

test("an entry is begun, committed, updated and removed, and found after reopening", (t) => {
  const { folder, entries } = open(t);
  const ledger = openLedger(folder);
  ledger.begin("a", 1);
  assert.deepEqual(entries(), { a: { committed: undefined, begun: 1 } });
  ledger.commit("a");
  ledger.begin("a", 2);
  assert.deepEqual(entries(), { a: { committed: 1, begun: 2 } });
  ledger.abandon("a");
  ledger.update("a", 3);
  assert.deepEqual(entries(), { a: { committed: 3, begun: undefined } });
  ledger.retire("a");
  assert.deepEqual(entries(), { a: { committed: undefined, begun: 3 } });
  ledger.remove("a");
  ledger.remove("a");
  assert.deepEqual([entries(), readdirSync(folder)], [{}, []]);
});

test("ids are data, never paths", (t) => {
  const { folder, entries } = open(t);
  const ledger = openLedger(folder);
  const ids = ["../../escape", "", "/etc/passwd", "constructor", "__proto__", "a".repeat(1000)];
  for (const id of ids) {
    ledger.begin(id, id);
    ledger.commit(id);
  }
  assert.deepEqual(Object.keys(entries()).sort(), [...ids].sort());
  assert.equal(readdirSync(folder).length, ids.length);
});

test("what was cut off while being begun is nothing; a broken committed entry is put aside", (t) => {
  const { folder } = open(t);
  const ledger = openLedger(folder);
  ledger.begin("a", "x".repeat(100));
  truncateSync(join(folder, readdirSync(folder)[0] ?? ""), 20);
  assert.deepEqual(ledger.load(), { entries: new Map(), unreadable: [] });
  ledger.begin("b", "x".repeat(100));
  ledger.commit("b");
  truncateSync(join(folder, readdirSync(folder)[0] ?? ""), 20);
  assert.equal(ledger.load().unreadable.length, 1);
  assert.deepEqual(ledger.load(), { entries: new Map(), unreadable: [] });
});

function open(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "wt-ledger-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const entries = (): object => {
    const all: Record<string, unknown> = Object.create(null);
    for (const [id, entry] of openLedger(folder).load().entries) all[id] = entry;
    return { ...all };
  };
  return { folder, entries };
}
