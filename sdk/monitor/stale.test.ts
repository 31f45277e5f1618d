import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../gen/connection.js";
import { timestampOf } from "../timestamp.js";
import { isStale } from "./stale.js";

for (const { why, saidMs, heldMs, stale } of [
  { why: "of an earlier Request of ours", saidMs: 1_000, heldMs: 2_000, stale: true },
  { why: "of the Request that was answered", saidMs: 2_000, heldMs: 2_000, stale: false },
  { why: "of a later Request, whose answer was lost", saidMs: 3_000, heldMs: 2_000, stale: false },
  { why: "without an end of life", saidMs: undefined, heldMs: 2_000, stale: false },
  { why: "of a connection that never had one", saidMs: 1_000, heldMs: undefined, stale: false },
]) {
  test(`row 7.3: news ${why} ${stale ? "are stale" : "count"}`, () => {
    assert.equal(isStale(ours(saidMs), ours(heldMs)), stale);
  });
}

test("only our own segment says so", () => {
  const foreign = (timeMs: number) =>
    Connection.fromPartial({ path: { index: 0, path_segments: [{ name: "a" }, ends(timeMs)] } });
  assert.equal(isStale(foreign(1_000), foreign(2_000)), false);
  assert.equal(isStale(Connection.fromPartial({}), ours(2_000)), false);
});

function ours(expiresMs: number | undefined): Connection {
  return Connection.fromPartial({ path: { index: 1, path_segments: [ends(9_000), ends(expiresMs), ends(9_000)] } });
}

function ends(timeMs: number | undefined) {
  return timeMs === undefined ? { name: "hop" } : { name: "hop", expires: timestampOf(timeMs) };
}
