import assert from "node:assert/strict";
import { test } from "node:test";
import { growthOf, type Sample, slopeOf } from "./growth.js";

test("a slope is told per 100 cycles, with twice its standard error", () => {
  assert.deepEqual(
    slopeOf(
      [
        [0, 1],
        [100, 3],
        [200, 5],
      ].map(([x = 0, y = 0]) => [x, y] as const),
    ),
    { per100: 2, spread: 0, last: 5 },
  );
  const { per100, spread } = slopeOf([0, 2, 0, 2, 0, 2].map((y, x) => [x, y] as const));
  assert.ok(Math.abs(per100) < spread, "what goes to and fro has no slope beyond its spread");
});

test("row 11.1: what grows by more than its spread is told; the warming up does not count", () => {
  const warm = samples(60, (cycle) => ({ heapMiB: cycle < 100 ? cycle / 10 : 10, descriptors: cycle % 20 === 0 ? 30 : 31 }));
  assert.deepEqual(growthOf("steady", warm)?.grows, []);
  const leaky = samples(60, (cycle) => ({ heapMiB: 10 + cycle / 100, descriptors: 30 + cycle / 50 }));
  const growth = growthOf("leaky", leaky);
  assert.deepEqual(growth?.grows, ["heapMiB", "descriptors"]);
  assert.deepEqual([growth?.fromCycle, growth?.toCycle, growth?.descriptors.per100], [105, 300, 2]);
});

test("nothing is said of a process that lived for a short time; of several lives the longest counts", () => {
  assert.equal(
    growthOf(
      "short",
      samples(12, () => ({})),
    ),
    undefined,
  );
  const second = samples(40, () => ({ pid: 2 })).map((sample) => ({ ...sample, cycle: sample.cycle + 60 }));
  const growth = growthOf("twice", [...samples(12, () => ({ heapMiB: 99 })), ...second]);
  assert.deepEqual([growth?.toCycle, growth?.heapMiB.last], [260, 10]);
});

/** One each five cycles. */
function samples(count: number, change: (cycle: number) => Partial<Sample>): Sample[] {
  return Array.from({ length: count }, (_, index) => {
    const cycle = (index + 1) * 5;
    return { cycle, pid: 1, memoryMiB: 60, heapMiB: 10, descriptors: 30, handles: 7, ...change(cycle) };
  });
}
