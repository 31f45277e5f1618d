import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock, systemClock } from "./clock.js";

test("a manual clock fires in the order of time, also what is armed on the way", () => {
  const clock = manualClock();
  const fired: string[] = [];
  clock.at(20, () => fired.push(`second at ${clock.nowMs()}`));
  clock.at(10, () => {
    fired.push(`first at ${clock.nowMs()}`);
    clock.at(15, () => fired.push(`between at ${clock.nowMs()}`));
  });
  const disarm = clock.at(12, () => fired.push("never"));
  disarm();
  clock.advance(30);
  assert.deepEqual(fired, ["first at 10", "between at 15", "second at 20"]);
  assert.equal(clock.nowMs(), 30);
});

test("a time beyond what setTimeout can hold does not fire at once", async () => {
  let fired = false;
  const disarm = systemClock.at(Date.now() + 2 ** 40, () => {
    fired = true;
  });
  await new Promise<void>((resolve) => {
    systemClock.at(Date.now() + 20, resolve);
  });
  disarm();
  assert.equal(fired, false);
});
