import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isStatusError } from "../../sdk/status.js";
import { createTable, replaceRules } from "./nft-script.js";
import { parseRules } from "./parse-rules.js";

const upstream = `
---
allow icmp:
  proto: 1
  srcportoricmptypelast: 65535
  dstportoricmpcodelast: 65535
  ispermit: 1
allow tcp8080:
  proto: 6
  srcportoricmptypelast: 65535
  dstportoricmpcodefirst: 8080
  dstportoricmpcodelast: 8080
  ispermit: 1
forbid tcp80:
  proto: 6
  srcportoricmptypelast: 65535
  dstportoricmpcodefirst: 80
  dstportoricmpcodelast: 80
`;

test("row 2.10: upstream's map is read in the order of the file", () => {
  const { rules, warnings } = parseRules(upstream);
  assert.deepEqual(
    rules.map(({ name, verdict }) => [name, verdict]),
    [
      ["allow icmp", "permit"],
      ["allow tcp8080", "permit"],
      ["forbid tcp80", "deny"],
    ],
  );
  assert.deepEqual(rules[1]?.destinationPorts, { first: 8080, last: 8080 });
  assert.equal(rules[1]?.sourcePorts, undefined);
  assert.equal(rules[0]?.icmpTypes, undefined);
  assert.equal(rules[0]?.family, 4);
  assert.deepEqual(warnings, []);
});

test("names that look like numbers keep their place", () => {
  const { rules } = parseRules("b: {ispermit: 1}\n10: {}\n2: {ispermit: 2}\n");
  assert.deepEqual(
    rules.map(({ name, verdict }) => `${name} ${verdict}`),
    ["b permit", "10 deny", "2 reflect"],
  );
});

test("a range that upstream would take as port 0 is taken so, with a warning", () => {
  const { rules, warnings } = parseRules("web: {ispermit: 1, proto: 6, dstportoricmpcodefirst: 80, dstportoricmpcodelast: 80}");
  assert.deepEqual(rules[0]?.sourcePorts, { first: 0, last: 0 });
  assert.match(warnings[0] ?? "", /rule "web".*srcportoricmptypelast: 65535/);
});

test("row 2.10: the list form says the same with fewer words", () => {
  const { rules } = parseRules(`
- { name: web, action: permit, proto: tcp, from: 10.0.0.0/8, dstport: 8080 }
- { action: reflect, proto: udp, to: "fd00::/8", dstport: 53-54 }
- { action: deny, proto: icmp, icmptype: 8 }
`);
  assert.deepEqual(
    rules.map(({ name }) => name),
    ["web", "rule 2", "rule 3"],
  );
  assert.equal(rules[0]?.source?.length, 8);
  assert.deepEqual(rules[1]?.destinationPorts, { first: 53, last: 54 });
  assert.equal(rules[1]?.family, 6);
  assert.deepEqual(rules[2]?.icmpTypes, { first: 8, last: 8 });
});

test("an empty file has no rules", () => {
  assert.deepEqual(parseRules("").rules, []);
  assert.deepEqual(parseRules("# nothing\n---\n").rules, []);
});

const refusals: [string, RegExp][] = [
  ["- { action: allow }", /action is "allow"; write permit, deny, reflect/],
  ["- { action: permit, port: 80 }", /unknown key "port"/],
  ["- { action: permit, dstport: 80 }", /need proto tcp/],
  ["- { action: permit, proto: tcp, dstport: 90-80 }", /dstport is "90-80"/],
  ["- { action: permit, from: 10.0.0.0/8, to: 'fd00::/8' }", /mixes IPv4 and IPv6/],
  ["- { action: permit, proto: 300 }", /proto is "300"/],
  ["- { name: a, action: permit }\n- { name: a, action: deny }", /two rules are named "a"/],
  ["a: {ispermit: 3}", /ispermit is "3"/],
  ["a: {srcprefix: nowhere}", /srcprefix is "nowhere"/],
  ["a: {isPermit: 1}", /unknown key "isPermit"/],
  ["a: 1", /is not a map/],
  ["just text", /neither a list/],
  ["a: {\n", /./],
];
for (const [text, reason] of refusals) {
  test(`refused with the reason: ${JSON.stringify(text)}`, () => assert.throws(() => parseRules(text), reason));
}

test("all problems are told at once", () => {
  assert.throws(
    () => parseRules("a: {ispermit: 9, proto: x}\nb: {nonsense: 1}"),
    (error: Error) => error.message.split("\n").length === 3,
  );
});

test("any text is read or refused with a status", () => {
  const word = fc.constantFrom(
    "a",
    "ispermit",
    "proto",
    "6",
    "1",
    ":",
    "-",
    "{",
    "}",
    "[",
    "]",
    "\n",
    " ",
    "action",
    "permit",
    "&x",
    "*x",
    "!!",
    "'",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(word).map((words) => words.join("")),
      ),
      (text) => {
        try {
          parseRules(text);
        } catch (error) {
          assert.ok(isStatusError(error), `${JSON.stringify(text)}: ${error}`);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test("nothing of a rule's name gets into a script, and no interface name that nft would misread", () => {
  const { rules } = parseRules(`"x\\" ; flush ruleset ; #": {ispermit: 1}\n`);
  const script = createTable("weft-1", "in0", "out0", rules) + replaceRules("weft-1", rules, []);
  assert.ok(!script.includes("flush ruleset"));
  for (const name of ['a"b', "a b", "", "a;b", "a{b", "sixteen-bytes-xx", "a\nb"]) {
    assert.throws(() => createTable("weft-1", name, "out0", []), /interface name/);
    assert.throws(() => createTable("weft-1", "in0", name, []), /interface name/);
  }
});
