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
