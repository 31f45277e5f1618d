import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isPrefix, missingFrom, parseExcludedPrefixes } from "./excluded-prefixes.js";

test("row 4.4: the key is found whatever the case of its letters, doubles are dropped", () => {
  const list = "- 10.0.0.0/8\n- fd00::/8\n- 10.0.0.0/8\n- 192.168.1.1\n";
  for (const key of ["prefixes", "Prefixes", "PREFIXES"]) {
    assert.deepEqual(parseExcludedPrefixes(`${key}:\n${list}`), ["10.0.0.0/8", "fd00::/8", "192.168.1.1"]);
  }
  assert.deepEqual(parseExcludedPrefixes(""), []);
  assert.deepEqual(parseExcludedPrefixes("prefixes:\n"), []);
});

const refusals = [
  { why: "no map", text: "- 10.0.0.0/8" },
  { why: "no key", text: "ranges: []" },
  { why: "no list", text: "prefixes: 10.0.0.0/8" },
  { why: "not a prefix", text: "prefixes: [10.0.0.0/33]" },
  { why: "not a text", text: "prefixes: [{a: b}]" },
  { why: "not YAML", text: "prefixes: [" },
  { why: "too many", text: `prefixes:\n${"- 10.0.0.0/8\n".repeat(5000)}` },
];
for (const { why, text } of refusals) {
  test(`refused: ${why}`, () => assert.throws(() => parseExcludedPrefixes(text)));
}

test("any text is either refused or gives prefixes only", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `prefixes: [${text}]`),
        fc.json(),
      ),
      (text) => {
        let prefixes: string[];
        try {
          prefixes = parseExcludedPrefixes(text);
        } catch {
          return;
        }
        assert.ok(prefixes.every(isPrefix));
      },
    ),
    { numRuns: 500 },
  );
});

test("only what is missing is added", () => {
  assert.deepEqual(missingFrom(["a", "b"], ["b", "c", "a", "d"]), ["c", "d"]);
});
