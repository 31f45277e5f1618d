import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../gen/connection.js";
import type { HeldFile } from "../../peer.js";
import { until } from "../../testing/until.js";
import { timestampOf } from "../../timestamp.js";
import { createHeldFiles } from "./held-files.js";

test("what a connection held is closed when it has ended, though nobody ever asks for anything again", async () => {
  let nowMs = 1_000_000;
  const held = createHeldFiles("connection", () => nowMs, 5);
  const closed: string[] = [];
  const file = (path: string): HeldFile => ({ path, dev: 1n, ino: 2n, close: () => void closed.push(path) });
  const connection = (id: string, endsMs: number): Connection =>
    Connection.fromPartial({ id, path: { index: 0, path_segments: [{ id, expires: timestampOf(endsMs) }] } });
  held.lease(connection("short", nowMs + 1_000), new Map([["inode://1/2", file("short")]])).keep();
  held.lease(connection("long", nowMs + 3_600_000), new Map([["inode://1/3", file("long")]])).keep();
  nowMs += 120_000;
  await until("the short one is closed", () => closed.length > 0);
  assert.deepEqual(closed, ["short"]);
  nowMs += 7_200_000;
  await until("the long one is closed", () => closed.length > 1);
  assert.deepEqual(closed, ["short", "long"]);
});
