import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { Code } from "../status.js";
import { createLog } from "../telemetry/log.js";
import { temporaryFolder } from "../testing/test-server.js";
import { openOwnerBook } from "./owner-book.js";

test("owners are there again after the process has gone, until their time is over or they were given up", (t) => {
  const shelf = start(t);
  const book = shelf.open();
  book.set("c1", "spiffe://d/alice", 1_000);
  book.set("c2", "spiffe://d/alice", 9_000);
  book.set("c3", "spiffe://d/bob", 9_000);
  book.set("c1", "spiffe://d/alice", 5_000);
  book.delete("c3");
  // a kill leaves the file as it is
  shelf.give();
  const again = shelf.open();
  assert.deepEqual(["c1", "c2", "c3", "c4"].map(again.ownerOf), ["spiffe://d/alice", "spiffe://d/alice", undefined, undefined]);
  shelf.nowMs = 5_000;
  assert.equal(again.ownerOf("c1"), undefined);
  assert.equal(statSync(join(shelf.dir, "owners")).mode & 0o777, 0o600);
});

test("a line that is cut off, and any bytes at all, harm nothing of the rest", (t) => {
  const shelf = start(t);
  const book = shelf.open();
  book.set("c1", "a", 9_000);
  shelf.give();
  appendFileSync(join(shelf.dir, "owners"), '["c2","b",90');
  const again = shelf.open();
  assert.equal(again.ownerOf("c1"), "a");
  again.set("c3", "c", 9_000);
  shelf.give();
  assert.deepEqual(["c1", "c2", "c3"].map(shelf.open().ownerOf), ["a", undefined, "c"]);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.uint8Array()), (noise) => {
      shelf.give();
      writeFileSync(join(shelf.dir, "owners"), Buffer.concat([Buffer.from(noise as string), Buffer.from('\n["k","o",9000]\n')]));
      assert.equal(shelf.open().ownerOf("k"), "o");
    }),
    { numRuns: 50 },
  );
});

test("the file stays small however often owners come back, and keeps them while it is made anew", (t) => {
  const shelf = start(t);
  const book = shelf.open();
  for (let round = 1; round <= 2_000; round++)
    for (const key of ["c1", "c2", "c3"]) book.set(key, "spiffe://d/alice", 10_000 + round);
  const text = readFileSync(join(shelf.dir, "owners"), "utf8");
  assert.ok(text.length < 64 * 1024, `${text.length} bytes`);
  shelf.give();
  shelf.nowMs = 11_500;
  assert.equal(shelf.open().ownerOf("c3"), "spiffe://d/alice");
});

test("a directory that vanishes: owners hold in memory, one line says it; it is written again when it can be", (t) => {
  const shelf = start(t);
  const book = shelf.open();
  rmSync(shelf.dir, { recursive: true });
  // more than the file takes before it is made anew
  for (let i = 0; i < 3_000; i++) book.set("c1", "a", 10_000 + i);
  assert.equal(book.ownerOf("c1"), "a");
  assert.equal(shelf.lines.length, 1);
  mkdirSync(shelf.dir);
  shelf.nowMs += 2_000;
  book.set("c2", "b", 10_000);
  assert.match(shelf.lines.at(-1) ?? "", /again/);
  assert.match(readFileSync(join(shelf.dir, "owners"), "utf8"), /c1[^\n]*\n.*c2/s);
});

test("one process at a time: a second one is refused and spoils nothing", (t) => {
  const shelf = start(t);
  shelf.open();
  assert.throws(() => shelf.open(), { code: Code.ALREADY_EXISTS });
});

function start(t: TestContext) {
  const dir = temporaryFolder(t);
  const lines: string[] = [];
  const log = createLog({ name: "book", level: "info", destination: { write: (line: string) => lines.push(line) } });
  const open: ReturnType<typeof openOwnerBook>[] = [];
  t.after(() => shelf.give());
  const shelf = {
    dir,
    lines,
    nowMs: 0,
    open() {
      const book = openOwnerBook({ dir, log, nowMs: () => shelf.nowMs });
      open.push(book);
      return book;
    },
    give: () => {
      for (const book of open.splice(0)) book.close();
    },
  };
  return shelf;
}
