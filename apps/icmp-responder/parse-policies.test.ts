import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isStatusError } from "../../sdk/status.js";
import { parsePolicies } from "./parse-policies.js";

/** The golden example of upstream's deployments. */
const upstream = `
- proto: 6
  dstport: 6666
  from: 172.16.2.201/24
  routes:
    - prefix: 172.16.3.0/24
      nexthop: 172.16.2.200
- proto: 6
  srcport: 5555
  from: 172.16.2.201/24
- proto: 17
  dstport: 6666
- proto: 17
  dstport: 6667-6670
  routes:
    - prefix: 172.16.4.0/24
- proto: 17
  from: 2004::3/120
  dstport: 5555
  routes:
    - prefix: 2004::5/120
      nexthop: 2004::6
`;

test("row 4.9: upstream's file is read", () => {
  const policies = parsePolicies(upstream);
  assert.deepEqual(
    policies.map(({ from, proto, dst_port, src_port, routes }) => [from, proto, dst_port, src_port, routes.length]),
    [
      ["172.16.2.201/24", "6", "6666", "", 1],
      ["172.16.2.201/24", "6", "", "5555", 0],
      ["", "17", "6666", "", 0],
      ["", "17", "6667-6670", "", 1],
      ["2004::3/120", "17", "5555", "", 1],
    ],
  );
  assert.equal(policies[0]?.routes[0]?.nextHop, "172.16.2.200");
});

test("row 4.9: the spellings that upstream ignores are read too, and names of protocols", () => {
  const [policy] = parsePolicies(
    "- { Proto: tcp, dst_port: '80', SrcPort: 1-2, routes: [{ prefix: 10.0.0.0/8, nextHop: 10.0.0.1 }] }",
  );
  assert.deepEqual([policy?.proto, policy?.dst_port, policy?.src_port], ["6", "80", "1-2"]);
  assert.equal(policy?.routes[0]?.nextHop, "10.0.0.1");
});

test("an empty file means none", () => assert.deepEqual(parsePolicies("---\n"), []));

for (const [text, reason] of [
  ["- { dport: 80 }", /unknown key "dport"/],
  ["- { dstport: 80-70 }", /port is "80-70"/],
  ["- { proto: 256 }", /proto is "256"/],
  ["- { from: here }", /from is "here"/],
  ["- { routes: [{ prefix: 10.0.0.0/8, nexthop: 10.0.0.1/8 }] }", /write an address/],
  ["a: b", /not a list/],
  ["- [", /./],
  ["- 1\n- { from: x }", /policy 1 is not a map.*\n.*from/],
] as const) {
  test(`refused with the reason: ${JSON.stringify(text)}`, () => assert.throws(() => parsePolicies(text), reason));
}

test("any text is read or refused with a status", () => {
  const word = fc.constantFrom("- ", "from", ": ", "{", "}", "[", "]", "\n", "routes", "6", ",", "*a", "&a ", "null", "'");
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(word).map((words) => words.join("")),
      ),
      (text) => {
        try {
          parsePolicies(text);
        } catch (error) {
          assert.ok(isStatusError(error), `${JSON.stringify(text)}: ${error}`);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
