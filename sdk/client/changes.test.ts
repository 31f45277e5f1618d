import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../gen/connection.js";
import { createChanges } from "./changes.js";

const connection = Connection.fromPartial({ id: "c" });

test("every listener hears everything from its start, and the end", async () => {
  const changes = createChanges();
  changes.tell({ kind: "updated", connection });
  const heard: string[][] = [[], []];
  const listeners = heard.map(async (list) => {
    for await (const change of changes) list.push(change.kind);
  });
  changes.tell({ kind: "trouble", reason: "test", connection });
  changes.tell({ kind: "closed", connection });
  changes.end();
  await Promise.all(listeners);
  assert.deepEqual(heard, [
    ["trouble", "closed"],
    ["trouble", "closed"],
  ]);
  for await (const change of changes) assert.fail(`after the end: ${change.kind}`);
});

test("a listener that does not read keeps the newest news only", async () => {
  const changes = createChanges();
  const iterator = changes[Symbol.asyncIterator]();
  for (let n = 0; n < 10_000; n += 1) changes.tell({ kind: "trouble", reason: String(n), connection });
  changes.end();
  let count = 0;
  let last = "";
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    count += 1;
    if (next.value.kind === "trouble") last = next.value.reason;
  }
  assert.deepEqual({ count, last }, { count: 256, last: "9999" });
});

test("a listener that leaves is forgotten", async () => {
  const changes = createChanges();
  setImmediate(() => changes.tell({ kind: "updated", connection }));
  for await (const change of changes) {
    assert.equal(change.kind, "updated");
    break;
  }
  changes.tell({ kind: "updated", connection });
});
