import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseRights, rightsOf } from "./rights.js";

test("what is written is read", () => {
  assert.deepEqual(parseRights(Buffer.from(rightsOf(7))), [7]);
  assert.deepEqual(parseRights(Buffer.concat([rightsOf(1), rightsOf(2)].map((one) => Buffer.from(one)))), [2, 2]);
});

test("messages of other kinds are passed over, cut ones read as far as they go", () => {
  const message = Buffer.alloc(16 + 8);
  message.writeBigUInt64LE(24n, 0);
  message.writeInt32LE(1, 8);
  message.writeInt32LE(1, 12);
  message.writeInt32LE(5, 16);
  message.writeInt32LE(6, 20);
  const credentials = Buffer.from(message);
  credentials.writeInt32LE(2, 12);
  assert.deepEqual(parseRights(Buffer.concat([credentials, message])), [5, 6]);
  assert.deepEqual(parseRights(message.subarray(0, 22)), [5]);
});

test("any bytes give a list, quickly", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.ok(parseRights(Buffer.from(bytes)).length <= bytes.length / 4);
    }),
  );
});
