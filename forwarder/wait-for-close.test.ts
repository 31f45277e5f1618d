import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, statusError } from "../sdk/status.js";
import { createCloseWait } from "./wait-for-close.js";

const never = new Promise<void>(() => {});

test("a next hop that hears of the close is waited for", async () => {
  const wait = createCloseWait({ nowMs: () => 0 });
  let heard = false;
  const told = Promise.resolve().then(() => {
    heard = true;
  });
  await wait.until("tcp://a", told);
  assert.ok(heard);
});

test("one that is silent is waited for once, for a while", async () => {
  let nowMs = 0;
  const wait = createCloseWait({ nowMs: () => nowMs });
  assert.equal(await waits(wait.until("tcp://a", never)), true);
  assert.equal(await waits(wait.until("tcp://a", never)), false);
  assert.equal(await waits(wait.until("tcp://b", never)), true, "another one may answer");
  nowMs += 2_000;
  assert.equal(await waits(wait.until("tcp://a", never)), true);
});

test("one that left a Request without an answer is not waited for, one that refused it is", async () => {
  let nowMs = 0;
  const wait = createCloseWait({ nowMs: () => nowMs });
  const failing = (code: Code, afterMs: number) => async () => {
    nowMs += afterMs;
    throw statusError(code, "no");
  };
  await assert.rejects(wait.asking("tcp://dead", failing(Code.DEADLINE_EXCEEDED, 250)));
  await assert.rejects(wait.asking("tcp://full", failing(Code.RESOURCE_EXHAUSTED, 250)));
  await assert.rejects(wait.asking("tcp://left", failing(Code.CANCELLED, 10)));
  assert.equal(await waits(wait.until("tcp://dead", never)), false);
  assert.equal(await waits(wait.until("tcp://full", never)), true);
  assert.equal(await waits(wait.until("tcp://left", never)), true);
  assert.equal(await wait.asking("tcp://dead", async () => 7), 7);
});

/** Whether it takes longer than what is to be done anyway. */
async function waits(wait: Promise<void>): Promise<boolean> {
  const keepAlive = setInterval(() => {}, 1_000);
  try {
    const idle = new Promise<"idle">((resolve) => setImmediate(() => resolve("idle")));
    const first = await Promise.race([wait.then(() => "over"), idle]);
    await wait;
    return first === "idle";
  } finally {
    clearInterval(keepAlive);
  }
}
