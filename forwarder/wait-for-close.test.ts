import assert from "node:assert/strict";
import { test } from "node:test";
import { createCloseWait } from "./wait-for-close.js";

const never = new Promise<void>(() => {});

test("a next hop that hears of the close is waited for", async () => {
  const wait = createCloseWait({ nowMs: () => 0 });
  let heard = false;
  const told = Promise.resolve().then(() => {
    heard = true;
  });
  await wait("tcp://a", told);
  assert.ok(heard);
});

test("one that is silent is waited for once, for a while", async () => {
  let nowMs = 0;
  const wait = createCloseWait({ nowMs: () => nowMs });
  assert.equal(await waits(wait("tcp://a", never)), true);
  assert.equal(await waits(wait("tcp://a", never)), false);
  assert.equal(await waits(wait("tcp://b", never)), true, "another one may answer");
  nowMs += 2_000;
  assert.equal(await waits(wait("tcp://a", never)), true);
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
