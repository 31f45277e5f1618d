import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock } from "../../sdk/clock.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { watchFullDisk } from "./full-disk.js";

function start() {
  const clock = manualClock();
  const told: string[] = [];
  const tell = (message: string): void => void told.push(message);
  const disk = { freeBytes: 64 * 1024 };
  const log = { ...silentLog, error: tell, info: tell };
  return { clock, told, disk, full: watchFullDisk("/var/lib/weft", { log, clock, freeBytes: () => disk.freeBytes }) };
}

test("a full disk is told once with the remedy, and that it is over", () => {
  const { full, told } = start();
  for (let n = 0; n < 5; n += 1) full.found();
  full.written();
  full.written();
  assert.equal(told.length, 2);
  assert.match(told[0] ?? "", /full.*free some room/);
  assert.match(told[1] ?? "", /has room again/);
});

test("while it is full a write is tried after a second, and then after pauses that grow to sixteen", () => {
  const { full, clock } = start();
  assert.ok(full.mayTry());
  full.found();
  const triedAtS: number[] = [];
  for (let ms = 10; ms <= 60_000; ms += 10) {
    clock.advance(10);
    if (!full.mayTry()) continue;
    triedAtS.push(ms / 1_000);
    full.found();
  }
  assert.deepEqual(triedAtS, [1, 3, 7, 15, 31, 47]);
  full.written();
  assert.ok(full.mayTry() && full.mayTry());
});

test("room that comes is used at once; room that is not enough is not asked about again and again", () => {
  const { full, disk } = start();
  full.found();
  assert.equal(full.mayTry(), false);
  disk.freeBytes = 1024 * 1024;
  assert.ok(full.mayTry());
  full.found();
  assert.equal(full.mayTry(), false);
});

test("of those that come while a try is under way none follows it, until it has an answer", () => {
  const { full, clock } = start();
  full.found();
  clock.advance(1_000);
  assert.deepEqual([full.mayTry(), full.mayTry(), full.mayTry()], [true, false, false]);
});

test("where there is little room one write at a time asks; where there is plenty all do", async () => {
  const { full, disk } = start();
  const first = await full.turn();
  const order: string[] = [];
  const waits = full.turn().then((end) => {
    order.push("second");
    return end;
  });
  disk.freeBytes = 1024 ** 3;
  (await full.turn())();
  order.push("first ends");
  first();
  (await waits)();
  assert.deepEqual(order, ["first ends", "second"]);
  disk.freeBytes = 0;
  (await full.turn())();
});
