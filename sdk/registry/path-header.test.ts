import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Code, isStatusError } from "../status.js";
import { enterRegistryPath, formatPathHeader, leaveRegistryPath, parsePathHeader, subjectOf } from "./path-header.js";

test("the header's forms are read: absent, empty, with tokens", () => {
  assert.equal(parsePathHeader([]), undefined);
  assert.deepEqual(parsePathHeader(['{"Index":0,"PathSegments":null}']), { index: 0, tokens: [] });
  assert.deepEqual(parsePathHeader(['{"Index":7,"PathSegments":[]}']), { index: 0, tokens: [] });
  assert.deepEqual(parsePathHeader(["{}"]), { index: 0, tokens: [] });
  assert.deepEqual(parsePathHeader(['{"Index":1,"PathSegments":[{"token":"a"},{}]}']), { index: 1, tokens: ["a", ""] });
});

const refusals = [
  "",
  "x",
  "null",
  "[]",
  '"text"',
  '{"Index":0,"PathSegments":[null]}',
  '{"Index":1,"PathSegments":[null,null]}',
  '{"Index":2,"PathSegments":[{"token":"a"},{"token":"b"}]}',
  '{"Index":-1,"PathSegments":[{"token":"a"}]}',
  '{"Index":0.5,"PathSegments":[{"token":"a"}]}',
  '{"Index":"0","PathSegments":[{"token":"a"}]}',
  '{"Index":0,"PathSegments":{"token":"a"}}',
  '{"Index":0,"PathSegments":[{"token":1}]}',
  `{"Index":0,"PathSegments":[${Array(200).fill('{"token":""}').join()}]}`,
];
for (const header of refusals) {
  test(`a malformed path header is INVALID_ARGUMENT: ${header.slice(0, 60)}`, () => {
    assert.throws(() => parsePathHeader([header]), { code: Code.INVALID_ARGUMENT });
  });
}

test("two path headers are INVALID_ARGUMENT", () => {
  assert.throws(() => parsePathHeader(["{}", "{}"]), { code: Code.INVALID_ARGUMENT });
});

test("an application enters after its caller; the caller gets its own index back", () => {
  const first = enterRegistryPath({ index: 0, tokens: [] }, "client", "own");
  assert.deepEqual(first, { index: 1, tokens: ["client", "own"] });
  assert.deepEqual(leaveRegistryPath(first), { index: 0, tokens: ["client", "own"] });
  const second = enterRegistryPath({ index: 1, tokens: ["client", "manager", "old"] }, undefined, "new");
  assert.deepEqual(second, { index: 2, tokens: ["client", "manager", "new"] });
});

test("the subject of a token is its sub claim, or nothing", () => {
  const token = (claims: unknown) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;
  assert.equal(subjectOf(token({ sub: "spiffe://d/a" })), "spiffe://d/a");
  assert.equal(subjectOf(token({ sub: 5 })), "");
  assert.equal(subjectOf(token({})), "");
  assert.equal(subjectOf(token([])), "");
  assert.equal(subjectOf(token(null)), "");
  assert.equal(subjectOf("a.b"), "");
  assert.equal(subjectOf("a.b.c"), "");
  assert.equal(subjectOf(""), "");
});

test("what is written is read again, and is plain ASCII", () => {
  const path = fc
    .array(fc.string({ unit: "binary" }), { minLength: 1, maxLength: 10 })
    .chain((tokens) => fc.record({ index: fc.nat(tokens.length - 1), tokens: fc.constant(tokens) }));
  fc.assert(
    fc.property(path, (path) => {
      const header = formatPathHeader(path);
      assert.match(header, /^[\x20-\x7e]*$/);
      assert.deepEqual(parsePathHeader([header]), { ...path });
    }),
  );
});

test("any text or JSON either reads or is INVALID_ARGUMENT", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.jsonValue().map((value) => `{"Index":0,"PathSegments":${JSON.stringify(value)}}`),
      ),
      (text) => {
        try {
          parsePathHeader([text]);
        } catch (error) {
          assert.ok(isStatusError(error) && error.code === Code.INVALID_ARGUMENT);
        }
        subjectOf(text);
      },
    ),
    { numRuns: 2_000 },
  );
});
