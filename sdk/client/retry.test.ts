import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock } from "../clock.js";
import { Code, statusError } from "../status.js";
import { withRetryHint } from "../transport/edge-status.js";
import { defaultBackoff } from "./backoff.js";
import { retry } from "./retry.js";

test("it asks again after growing pauses until it works", async () => {
  const clock = manualClock();
  const pauses: number[] = [];
  let tries = 0;
  const answer = await retry(
    async () => {
      tries += 1;
      if (tries < 5) throw statusError(Code.UNAVAILABLE, "no endpoint yet");
      return tries;
    },
    { ...options(clock), onRefused: (_error, pauseMs) => advanceSoon(clock, pauses, pauseMs) },
  );
  assert.equal(answer, 5);
  assert.equal(pauses.length, 4);
  assert.ok(pauses[0] !== undefined && pauses[0] >= 35 && pauses[0] <= 65);
  assert.ok(pauses[3] !== undefined && pauses[3] >= 280 && pauses[3] <= 520);
});

test("it does not ask before who refused it wants to be asked", async () => {
  const clock = manualClock();
  const pauses: number[] = [];
  let tries = 0;
  await retry(
    async () => {
      tries += 1;
      if (tries === 1) throw withRetryHint(statusError(Code.RESOURCE_EXHAUSTED, "too much at once"), 7_000);
    },
    { ...options(clock), onRefused: (_error, pauseMs) => advanceSoon(clock, pauses, pauseMs) },
  );
  assert.deepEqual(pauses, [7_000]);
});

for (const code of [Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED]) {
  test(`a final answer ends it: ${code}`, async () => {
    await assert.rejects(
      retry(() => Promise.reject(statusError(code, "never")), options(manualClock())),
      { code },
    );
  });
}

test("the deadline ends it and tells the last answer", async () => {
  const clock = manualClock();
  const pauses: number[] = [];
  const attempt = (): Promise<never> => Promise.reject(statusError(Code.NOT_FOUND, "service x is not registered"));
  const call = retry(attempt, {
    ...options(clock),
    deadlineMs: 1_000,
    onRefused: (_e, pauseMs) => advanceSoon(clock, pauses, pauseMs),
  });
  await assert.rejects(call, { code: Code.DEADLINE_EXCEEDED, message: /NOT_FOUND: service x is not registered/ });
});

test("an abort ends it during a pause, and nothing stays armed", async () => {
  const controller = new AbortController();
  const call = retry(() => Promise.reject(statusError(Code.UNAVAILABLE, "away")), {
    ...options(manualClock()),
    signal: controller.signal,
    onRefused: () => setImmediate(() => controller.abort(new Error("enough"))),
  });
  await assert.rejects(call, /enough/);
});

function advanceSoon(clock: { advance(byMs: number): void }, pauses: number[], pauseMs: number): void {
  pauses.push(pauseMs);
  setImmediate(() => clock.advance(pauseMs));
}

function options(clock: ReturnType<typeof manualClock>) {
  return { clock, backoff: defaultBackoff, signal: new AbortController().signal, deadlineMs: undefined, onRefused: () => {} };
}
