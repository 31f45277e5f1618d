import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isPrefix, missingFrom, parseExcludedPrefixes } from "./excluded-prefixes.js";

test("row 4.4: the key is found whatever the case of its letters, doubles are dropped", async () => {
  const list = "- 10.0.0.0/8\n- fd00::/8\n- 10.0.0.0/8\n- 192.168.1.1\n";
  for (const key of ["prefixes", "Prefixes", "PREFIXES"]) {
    assert.deepEqual(await parseExcludedPrefixes(`${key}:\n${list}`), ["10.0.0.0/8", "fd00::/8", "192.168.1.1"]);
  }
  assert.deepEqual(await parseExcludedPrefixes(""), []);
  assert.deepEqual(await parseExcludedPrefixes("prefixes:\n"), []);
});

test("the plain form is read as YAML reads it", async () => {
  const prefix = fc.oneof(
    fc.ipV4Extended().map((ip) => `${ip}/8`),
    fc.ipV6().map((ip) => `${ip}/64`),
    fc.constantFrom("1e5/8", "10.0.0.0/8", "fd00::/8", "::1/128", "0x10/8", "10.0.0.0", "null", "- 10.0.0.0/8", "'10.0.0.0/8'"),
  );
  const list = fc.tuple(fc.array(prefix, { maxLength: 5 }), fc.constantFrom("- ", "  - ", "\t- ", "-", " -  "), fc.boolean());
  const property = fc.asyncProperty(list, async ([prefixes, indent, ragged]) => {
    const lines = prefixes.map((entry, index) => `${ragged && index === 1 ? " " : ""}${indent}${entry}\n`);
    const read = (head: string) => parseExcludedPrefixes(head + lines.join("")).catch(() => "refused");
    assert.deepEqual(await read("prefixes:\n"), await read("prefixes: # as YAML\n"));
  });
  await fc.assert(property, { numRuns: 300 });
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
  test(`refused: ${why}`, () => assert.rejects(parseExcludedPrefixes(text)));
}

test("any text is either refused or gives prefixes only", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `prefixes: [${text}]`),
        fc.json(),
      ),
      async (text) => {
        let prefixes: string[];
        try {
          prefixes = await parseExcludedPrefixes(text);
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
