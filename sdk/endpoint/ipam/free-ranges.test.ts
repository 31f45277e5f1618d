import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { freeRanges } from "./free-ranges.js";

test("behaves like a plain set of numbers", () => {
  const value = fc.nat(40).map(BigInt);
  const range = fc.tuple(value, fc.nat(12)).map(([first, size]) => ({ first, last: first + BigInt(size) }));
  const step = fc.record({ verb: fc.constantFrom("take", "give", "lowest"), value, within: range });
  fc.assert(
    fc.property(fc.array(range), fc.array(step, { maxLength: 60 }), (initial, steps) => {
      const ranges = freeRanges(initial);
      const model = new Set<bigint>();
      for (const { first, last } of initial) for (let at = first; at <= last; at++) model.add(at);
      for (const { verb, value, within } of steps) {
        if (verb === "take") assert.equal(ranges.take(value), model.delete(value));
        if (verb === "give") {
          ranges.give(value);
          model.add(value);
        }
        if (verb === "lowest") {
          const excluded = { first: value, last: value + 3n };
          const fits = [...model].filter(
            (at) => at >= within.first && at <= within.last && (at < excluded.first || at > excluded.last),
          );
          const lowest = fits.sort((a, b) => Number(a - b))[0];
          assert.equal(ranges.lowest(within, [excluded]), lowest);
        }
        assert.equal(ranges.has(value), model.has(value));
      }
    }),
  );
});

test("a whole address space costs nothing to hold", () => {
  const all = { first: 0n, last: 2n ** 128n - 1n };
  const ranges = freeRanges([all]);
  for (let count = 0n; count < 1000n; count++) {
    assert.equal(ranges.lowest(all, [{ first: 0n, last: 2n ** 64n }]), 2n ** 64n + 1n + count);
    ranges.take(2n ** 64n + 1n + count);
  }
});
