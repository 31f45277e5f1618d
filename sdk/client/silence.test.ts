import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, statusError } from "../status.js";
import { createSilence } from "./silence.js";

const late = (): Promise<never> => Promise.reject(statusError(Code.DEADLINE_EXCEEDED, "no answer"));

test("an endpoint that left one connection without an answer is not waited for by the others, for a moment", async () => {
  let nowMs = 0;
  const silence = createSilence({ nowMs: () => nowMs });
  let tries = 0;
  const answered = async (): Promise<number> => ++tries;
  await assert.rejects(silence.run("nse-1", late), { code: Code.DEADLINE_EXCEEDED });
  await assert.rejects(silence.run("nse-1", answered), { code: Code.UNAVAILABLE, message: /nse-1 has just left another/ });
  assert.equal(await silence.run("nse-2", answered), 1, "another one is asked");
  nowMs = 2_000;
  assert.equal(await silence.run("nse-1", answered), 2, "it may be back");
});

test("an answer, also a refusal, is no silence", async () => {
  const silence = createSilence({ nowMs: () => 0 });
  const refused = silence.run("nse-1", () => Promise.reject(statusError(Code.UNAVAILABLE, "nobody listens")));
  await assert.rejects(refused, { message: /nobody listens/ });
  assert.equal(await silence.run("nse-1", async () => "well"), "well");
});

for (const { what, failure } of [
  { what: "leaves the first one without an answer", failure: statusError(Code.DEADLINE_EXCEEDED, "no answer") },
  { what: "cannot be reached", failure: statusError(Code.UNAVAILABLE, "nobody listens") },
]) {
  test(`while one asks the others wait, and do not ask an endpoint that ${what}`, async () => {
    const silence = createSilence({ nowMs: () => 0 });
    const { ask, tries } = held<string>();
    const first = silence.run("nse-1", ask);
    const others = [silence.run("nse-1", ask), silence.run("nse-1", ask)];
    assert.equal(tries.length, 1);
    assert.equal(await silence.run("nse-2", async () => "well"), "well", "another endpoint has nothing to do with it");
    tries[0]?.reject(failure);
    await assert.rejects(first, { code: failure.code });
    for (const other of others) await assert.rejects(other, { code: Code.UNAVAILABLE, message: /nse-1 did not take another/ });
    assert.equal(tries.length, 1);
  });
}

for (const { what, end } of [
  { what: "answers", end: (one: Try<string>) => one.resolve("well") },
  { what: "refuses the first one alone", end: (one: Try<string>) => one.reject(statusError(Code.ALREADY_EXISTS, "nsm-1")) },
]) {
  test(`while one asks the others wait, and all ask at once when the endpoint ${what}`, async () => {
    const silence = createSilence({ nowMs: () => 0 });
    const { ask, tries } = held<string>();
    const first = silence.run("nse-1", ask).catch(() => "refused");
    const others = [silence.run("nse-1", ask), silence.run("nse-1", ask)];
    for (const one of tries.slice(0, 1)) end(one);
    await first;
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(tries.length, 3);
    for (const one of tries.slice(1)) one.resolve("well");
    assert.deepEqual(await Promise.all(others), ["well", "well"]);
  });
}

interface Try<T> {
  resolve(answer: T): void;
  reject(error: Error): void;
}

/** Tries that end when the test says so. */
function held<T>(): { readonly ask: () => Promise<T>; readonly tries: Try<T>[] } {
  const tries: Try<T>[] = [];
  return { tries, ask: () => new Promise<T>((resolve, reject) => void tries.push({ resolve, reject })) };
}
