import assert from "node:assert/strict";
import { test } from "node:test";
import { createPatience } from "./patience.js";

test("whoever has never been refused is always looked at", () => {
  const patience = createPatience(() => 0);
  for (let i = 0; i < 10_000; i++) assert.equal(patience.holdMs("a"), undefined);
});

test("of one who is refused forty calls a second are looked at, and the answers to the rest come later and later", () => {
  const time = { nowMs: 0 };
  const patience = createPatience(() => time.nowMs);
  patience.refused("storm");
  let looked = 0;
  let longestMs = 0;
  for (; time.nowMs < 10_000; time.nowMs++) {
    const holdMs = patience.holdMs("storm");
    if (holdMs === undefined) looked++;
    longestMs = Math.max(longestMs, holdMs ?? 0);
  }
  assert.ok(looked >= 400 && looked <= 440, `${looked} in ten seconds`);
  assert.equal(longestMs, 1_000);
  assert.equal(patience.holdMs("other"), undefined);
  time.nowMs += 60_000;
  for (let i = 0; i < 1_000; i++) assert.equal(patience.holdMs("storm"), undefined, "forgotten when it has become calm");
});

test("one refusal costs an honest tenant nothing that is served", () => {
  const patience = createPatience(() => 0);
  patience.refused("a");
  for (let i = 0; i < 1_000; i++) {
    assert.equal(patience.holdMs("a"), undefined);
    patience.served("a");
  }
});
