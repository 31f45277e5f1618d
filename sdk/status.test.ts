import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, codeName, statusError, toStatusError } from "./status.js";

test("our own errors pass unchanged", () => {
  const error = statusError(Code.NOT_FOUND, "network service x is not found");
  assert.equal(toStatusError(error), error);
});

const cases: { thrown: unknown; code: number; details: RegExp }[] = [
  { thrown: new TypeError("secret internals"), code: Code.INTERNAL, details: /^internal error/ },
  { thrown: "a string", code: Code.INTERNAL, details: /^internal error/ },
  { thrown: AbortSignal.abort().reason, code: Code.CANCELLED, details: /abort/ },
  { thrown: new DOMException("too late", "TimeoutError"), code: Code.DEADLINE_EXCEEDED, details: /too late/ },
  {
    thrown: Object.assign(new Error("5 NOT_FOUND: gone"), { code: 5, details: "gone" }),
    code: Code.NOT_FOUND,
    details: /^gone$/,
  },
  { thrown: Object.assign(new Error("fs"), { code: "ENOENT" }), code: Code.INTERNAL, details: /^internal error/ },
];
for (const { thrown, code, details } of cases) {
  test(`${String(thrown)} leaves as ${codeName(code)}`, () => {
    const status = toStatusError(thrown);
    assert.equal(status.code, code);
    assert.match(status.details, details);
  });
}
