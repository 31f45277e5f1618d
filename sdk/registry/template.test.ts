import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { noValue, renderTemplate } from "./template.js";

const labels = { nodeName: "n1", "a-b": "dash", empty: "", größe: "L", q: "{{.nodeName}}" };

const cases: [why: string, value: string, expected: string][] = [
  ["a field", "{{.nodeName}}", "n1"],
  ["blanks inside", "{{  .nodeName\n}}", "n1"],
  ["text around", "on-{{.nodeName}}/x", "on-n1/x"],
  ["two fields", "{{.nodeName}}{{.nodeName}}", "n1n1"],
  ["a missing field", "{{.nothing}}", noValue],
  ["a field of the prototype is missing", "{{.constructor}}{{.__proto__}}", noValue + noValue],
  ["an empty label", "<{{.empty}}>", "<>"],
  ["a letter beyond ASCII", "{{.größe}}", "L"],
  ["index with a quoted key", '{{index . "a-b"}}', "dash"],
  ["index with a raw key", "{{index . `a-b`}}", "dash"],
  ["index of a missing key is empty", '<{{index . "x"}}>', "<>"],
  ["an escape in a quoted key", '{{index . "\\u0061-b"}}', "dash"],
  ["trimming", "a \n{{- .nodeName -}} \t b", "an1b"],
  ["trimming one side", "a {{- .nodeName }} b", "an1 b"],
  ["a dash without a blank is no trim marker", "a {{-.nodeName}}", "a {{-.nodeName}}"],
  ["a field with a dash does not parse", "{{.a-b}}", "{{.a-b}}"],
  ["an open action", "x{{.nodeName", "x{{.nodeName"],
  ["another action", "{{if .x}}y{{end}}", "{{if .x}}y{{end}}"],
  ["a chained field", "{{.a.b}}", "{{.a.b}}"],
  ["a part that is not understood leaves the whole literal", "{{.nodeName}}{{len .}}", "{{.nodeName}}{{len .}}"],
  ["a label is not expanded again", "{{.q}}", "{{.nodeName}}"],
  ["single braces", "{.nodeName}", "{.nodeName}"],
];
for (const [why, value, expected] of cases) {
  test(`row 2.2: template, ${why}`, () => {
    assert.equal(renderTemplate(value, labels), expected);
  });
}

test("any value is rendered without an error, and one without braces stays as it is", () => {
  const piece = fc.oneof(fc.string(), fc.constantFrom("{{", "}}", "{{.", "index . ", '"', "`", "- ", " -", ".nodeName", "\\"));
  fc.assert(
    fc.property(
      fc.array(piece).map((pieces) => pieces.join("")),
      fc.dictionary(fc.string(), fc.string()),
      (value, data) => {
        const rendered = renderTemplate(value, data);
        if (!value.includes("{{")) assert.equal(rendered, value);
      },
    ),
    { numRuns: 5_000 },
  );
});

test("a field that is a label is replaced by it", () => {
  const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,20}$/).filter((key) => key !== "__proto__");
  fc.assert(
    fc.property(
      name,
      fc.string(),
      fc.string().filter((text) => !text.includes("{")),
      (key, value, text) => {
        assert.equal(renderTemplate(`${text}{{.${key}}}`, { [key]: value }), text + value);
        assert.equal(renderTemplate(`{{index . ${JSON.stringify(key)}}}${text}`, { [key]: value }), value + text);
      },
    ),
  );
});

test("a long hostile value is rendered in linear time", () => {
  const value = "{{ ".repeat(200_000);
  assert.equal(renderTemplate(value, labels), value);
  const quoted = `{{index . "${"\\a".repeat(100_000)}`;
  assert.equal(renderTemplate(quoted, labels), quoted);
});
