import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { pause } from "./pause.js";

test("a pause ends by itself, and leaves no listener", async () => {
  const { signal } = new AbortController();
  await pause(1, signal);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("an abort ends a pause of an hour at once, and one that has not begun", async () => {
  const controller = new AbortController();
  const waiting = pause(3_600_000, controller.signal);
  controller.abort();
  await waiting;
  await pause(3_600_000, controller.signal);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});
