import assert from "node:assert/strict";
import { test } from "node:test";
import { checksum } from "../../sdk/linux/icmp-echo.js";
import { damage, impair, virtioHeaderBytes } from "./impair.js";
import { createChance } from "./random.js";

/** Ethernet, then 20 bytes whose checksum at offset 16 is not finished. */
function unfinished(): Buffer {
  const frame = Buffer.alloc(virtioHeaderBytes + 14 + 20, 0x5a);
  frame.fill(0, 0, virtioHeaderBytes);
  frame.writeUInt8(1, 0);
  frame.writeUInt16LE(14, 6);
  frame.writeUInt16LE(16, 8);
  frame.writeUInt16BE(0, virtioHeaderBytes + 14 + 16);
  return frame;
}

test("a damaged frame has a finished checksum that tells of the damage, and differs in one bit", () => {
  const chance = createChance(7);
  const damaged = damage(unfinished(), chance);
  assert.ok(damaged);
  assert.equal(damaged.readUInt8(0), 0, "the receiver is to check it");
  const payload = damaged.subarray(virtioHeaderBytes + 14);
  assert.notEqual(checksum(payload), 0);
  const bits = Array.from({ length: payload.length * 8 }, (_, bit) => bit).filter((bit) => {
    const mended = Buffer.from(payload);
    mended.writeUInt8(mended.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    return checksum(mended) === 0;
  });
  assert.ok(bits.length > 0, "turning the one bit back makes the checksum right");
});

test("several packets in one frame cannot be damaged; they are lost", () => {
  const frame = unfinished();
  frame.writeUInt8(1, 1);
  assert.equal(damage(frame, createChance(1)), undefined);
});

test("shares are kept: of 10,000 frames a fifth is lost, the rest is late", () => {
  const chance = createChance(3);
  const fates = Array.from({ length: 10_000 }, () =>
    impair(unfinished(), { loss: 0.2, corrupt: 0, reorder: 0.5, delayMs: 4 }, chance),
  );
  const lost = fates.filter(({ kind }) => kind === "lost").length;
  assert.ok(lost > 1_800 && lost < 2_200, `${lost} lost`);
  const times = new Set(fates.map((fate) => (fate.kind === "passes" ? fate.afterMs : -1)));
  assert.deepEqual(
    [...times].sort((a, b) => a - b),
    [-1, 4, 19],
  );
});
