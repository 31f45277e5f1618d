import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../testing/until.js";
import { onBeat } from "./beat.js";

test("row 11.3: who would be woken within a few milliseconds of each other is woken in one turn", async () => {
  let turn = 0;
  const turns = new Map<number, number[]>();
  const startMs = performance.now();
  for (let index = 0; index < 40; index++) {
    onBeat(100 + index, () => {
      if (turn === 0) {
        turn = turns.size + 1;
        setImmediate(() => {
          turn = 0;
        });
      }
      turns.set(turn, [...(turns.get(turn) ?? []), performance.now() - startMs - 100 - index]);
    });
  }
  const all = (): number[] => [...turns.values()].flat();
  await until("all", () => all().length === 40);
  assert.ok(turns.size <= 6, `${turns.size} turns`);
  assert.ok(Math.min(...all()) >= -7, "none is woken more than a beat early");
});

test("a short delay is not rounded; what is taken back does not run, and keeps nobody else from it", async () => {
  const ran: string[] = [];
  onBeat(1, () => ran.push("short"));
  const cancels = ["a", "b", "c"].map((name) => onBeat(60, () => ran.push(name)));
  cancels[0]?.();
  cancels[0]?.();
  const alone = onBeat(200, () => ran.push("alone"));
  alone();
  const again = onBeat(200, () => ran.push("again"));
  onBeat(60, () => cancels[2]?.());
  await until("the last", () => ran.includes("again"));
  again();
  assert.deepEqual(
    ran.filter((name) => name !== "c"),
    ["short", "b", "again"],
  );
});
