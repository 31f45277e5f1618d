import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isStatusError } from "../../status.js";
import { parseCidrGroups, prefixGroups } from "./groups.js";

test("groups are read as upstream writes them", () => {
  assert.deepEqual(parseCidrGroups("172.16.1.0/24"), ["172.16.1.0/24"]);
  assert.deepEqual(parseCidrGroups("172.10.0.0/24,100:200::/64"), ["172.10.0.0/24", "100:200::/64"]);
  assert.deepEqual(parseCidrGroups("[a/8, b/8] , [c/8],d/8"), [["a/8", "b/8"], ["c/8"], "d/8"]);
  assert.deepEqual(parseCidrGroups(""), []);
});

for (const text of ["[a", "a]", "[a,[b]]"]) {
  test(`refused: ${text}`, () => assert.throws(() => parseCidrGroups(text), /at character \d/));
}

test("all malformed prefixes are named at once", () => {
  assert.throws(() => prefixGroups(["10.0.0.0/24", "x", ["1.2.3.4/99"]]), /"x", "1\.2\.3\.4\/99"/);
});

test("any text is read or refused with a status", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom("[", "]", ",", "1", "/", " ", ".") }), (text) => {
      try {
        prefixGroups(parseCidrGroups(text));
      } catch (error) {
        assert.ok(isStatusError(error), String(error));
      }
    }),
  );
});
