import assert from "node:assert/strict";
import { test } from "node:test";
import { createTally } from "./tally.js";

test("each packet is counted once: answered, lost, refused, answered twice, answered too late", () => {
  const tally = createTally(1_000);
  const [answered, late, refused, twice] = [0, 10, 20, 30].map((atMs) => tally.send(atMs));
  tally.answer(answered ?? -1);
  tally.refuse(refused ?? -1);
  tally.answer(twice ?? -1);
  tally.answer(twice ?? -1);
  assert.deepEqual(tally.settle(1_009), [{ atMs: 20, sequence: 2 }], "one is refused, one may still come");
  assert.deepEqual(tally.settle(1_010), [{ atMs: 10, sequence: 1 }]);
  tally.answer(late ?? -1);
  assert.deepEqual(tally.settle(5_000), []);
  const { sent, lost, duplicates, lastAnsweredSentAtMs } = tally;
  assert.deepEqual(
    { sent, answered: tally.answered, lost, duplicates, lastAnsweredSentAtMs },
    { sent: 4, answered: 2, lost: 2, duplicates: 2, lastAnsweredSentAtMs: 30 },
  );
});
