import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Connection } from "../gen/connection.js";
import { timestampOf } from "../timestamp.js";
import { backoffMs, defaultBackoff } from "./backoff.js";
import { expiryMs, refreshAtMs } from "./refresh.js";

const cases = [
  {
    why: "a client of a whole chain: a fifth of the shortest life",
    lives: [600_000, 300_000, 600_000, 600_000],
    index: 0,
    at: 60_000,
  },
  { why: "alone on the path: a third", lives: [600_000], index: 0, at: 200_000 },
  {
    why: "a function in the middle: later, the further it stands",
    lives: [600_000, 600_000, 600_000, 600_000],
    index: 2,
    at: 180_000,
  },
  { why: "life over: at once", lives: [600_000, -1], index: 0, at: 0 },
  { why: "no life known: at once", lives: [], index: 0, at: 0 },
];
for (const { why, lives, index, at } of cases) {
  test(`row 1.28: refresh of ${why}`, () => {
    const startMs = 1_700_000_000_000;
    assert.equal(refreshAtMs(connection(startMs, lives, index), startMs, 0), startMs + at);
  });
}

test("row 1.28: the spread never makes a refresh late", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 1e9 }), { minLength: 2, maxLength: 9 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (lives, random) => {
        const shown = connection(0, lives, 0);
        const latest = refreshAtMs(shown, 0, 0);
        const chosen = refreshAtMs(shown, 0, random);
        assert.ok(chosen <= latest && chosen >= Math.floor(latest * 0.84), `${chosen} of ${latest}`);
        assert.ok(chosen <= (expiryMs(shown) ?? 0));
      },
    ),
  );
});

test("pauses double up to the ceiling and are spread by 30 %", () => {
  assert.deepEqual(
    [1, 2, 3, 4, 99].map((failures) => backoffMs(defaultBackoff, failures, 0.5)),
    [50, 100, 200, 400, 1_000],
  );
  assert.equal(backoffMs(defaultBackoff, 1, 0), 35);
  assert.equal(backoffMs(defaultBackoff, 99, 0.999_99), 1_300);
});

function connection(nowMs: number, lives: readonly number[], index: number): Connection {
  return Connection.fromPartial({
    id: "c",
    path: { index, path_segments: lives.map((life, at) => ({ name: `hop-${at}`, id: "c", expires: timestampOf(nowMs + life) })) },
  });
}
