import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createLog } from "../telemetry/log.js";
import { temporaryFolder } from "../testing/test-server.js";
import { openOwnerBook } from "./owner-book.js";

test("a full disk refuses nobody and loses nobody's ownership; with room again all of it is on the disk", (t) => {
  const dir = join(temporaryFolder(t), "disk");
  mkdirSync(dir);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "wt-owners", dir]);
  try {
    const lines: string[] = [];
    const log = createLog({ name: "book", level: "info", destination: { write: (line: string) => lines.push(line) } });
    let nowMs = 0;
    const open = () => openOwnerBook({ dir, log, nowMs: () => nowMs });
    const first = open();
    const ballast = join(dir, "ballast");
    assert.throws(() => writeFileSync(ballast, Buffer.alloc(1024 * 1024)), { code: "ENOSPC" });
    const keys = Array.from({ length: 200 }, (_, i) => `connection-${String(i).padStart(4, "0")}`);
    for (const key of keys) first.set(key, "spiffe://weft.test/ns/default/pod/alice", 99_000);
    assert.ok(keys.every((key) => first.ownerOf(key) !== undefined));
    assert.equal(lines.filter((line) => line.includes("cannot be written")).length, 1);
    rmSync(ballast);
    nowMs = 5_000;
    first.delete(keys[0] ?? "");
    first.close();
    const second = open();
    const missing = keys.filter((key) => second.ownerOf(key) === undefined);
    second.close();
    assert.deepEqual(missing, keys.slice(0, 1));
  } finally {
    execFileSync("umount", ["-l", dir]);
  }
});
