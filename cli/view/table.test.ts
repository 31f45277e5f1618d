import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { plain } from "./plain.js";
import { age, formatFacts, formatTable } from "./table.js";

test("columns are as wide as their widest cell, without trailing blanks", () => {
  assert.equal(
    formatTable(
      ["NAME", "X"],
      [
        ["a", "→"],
        ["longer", ""],
      ],
    ),
    "NAME    X\na       →\nlonger\n",
  );
  assert.equal(
    formatFacts([
      ["A", "1"],
      ["Long", "2"],
    ]),
    "A:     1\nLong:  2\n",
  );
});

test("names from the wire cannot move the reader's cursor", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string(), fc.string())), (rows) => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: their absence is what is tested
      assert.doesNotMatch(formatTable(["A", "B"], rows).replaceAll("\n", ""), /[\u0000-\u001f\u007f-\u009f]/);
    }),
  );
  assert.match(formatTable(["A"], [["\u001b[2J"]]), /\\x1b\[2J/);
});

test("ages have one unit", () => {
  const cases: [number, string][] = [
    [0, "0s"],
    [119_000, "119s"],
    [600_000, "10m"],
    [10_800_000, "3h"],
    [864_000_000, "10d"],
  ];
  for (const [ms, text] of cases) assert.equal(age(0, ms), text);
  assert.equal(age(undefined, 5), "");
});

test("messages become plain data with readable times", () => {
  assert.deepEqual(plain({ at: { seconds: 0, nanos: 5e6 }, _unknownFields: {}, n: 5n, none: undefined, list: [{ a: 1 }] }), {
    at: "1970-01-01T00:00:00.005Z",
    n: "5",
    list: [{ a: 1 }],
  });
});
