import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { createTokenVerifier, mintToken } from "../identity/tokens.js";
import { type MonitorInput, type PathInput, type PolicyInput, type ResourceInput, regoInput } from "./input.js";
import { findOpa } from "./opa.js";
import * as rules from "./rules.js";

const ids = ["spiffe://a.test/client", "spiffe://a.test/manager", "spiffe://b.test/forwarder"];
const keys = ids.map(() => generateKeyPairSync("ec", { namedCurve: "P-256" }));
const nowMs = Date.now();
const tools: rules.RuleTools = { nowMs: () => nowMs, isSignedBy: createTokenVerifier({ nowMs: () => nowMs }).isSignedBy };
const reference = fileURLToPath(new URL("rego-reference", import.meta.url));

const who = fc.nat(ids.length - 1);
const validToken = fc
  .record({ maker: who, audience: who, aheadS: fc.constantFrom(600, 86_400, -600, -60) })
  .map(({ maker, audience, aheadS }) =>
    mintToken({ sub: ids[maker] ?? "", aud: ids[audience], expiresMs: nowMs + aheadS * 1000, privateKey: privateKeyOf(maker) }),
  );
const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value) ?? "").toString("base64url");
/** What a stranger may put together: other algorithms, claims missing or of another type, parts that are no JSON. */
const oddToken = fc
  .tuple(
    fc.constantFrom<unknown>(
      { alg: "ES256", typ: "JWT" },
      { alg: "none" },
      { alg: "HS256" },
      { typ: "JWT" },
      { alg: 5 },
      [],
      "x",
    ),
    fc.record(
      {
        sub: fc.constantFrom<unknown>(...ids, "", 7, null),
        aud: fc.constantFrom<unknown>(ids, [ids[0], 5], ids[1], [], [""], null),
        exp: fc.constantFrom<unknown>(nowMs / 1000 + 600, Math.floor(nowMs / 1000) - 600, "9999999999", null, -1, 1.5, 1e18),
      },
      { requiredKeys: [] },
    ),
    fc.constantFrom("", "AAAA", "!!", Buffer.alloc(64, 1).toString("base64url")),
  )
  .map(([header, claims, signature]) => `${encoded(header)}.${encoded(claims)}.${signature}`);
const brokenToken = fc.oneof(
  fc.constantFrom("", ".", "..", "a.b.c", "....", "not a token"),
  fc.tuple(validToken, fc.nat(40)).map(([token, cut]) => token.slice(0, token.length - cut)),
  fc.tuple(validToken, validToken).map(([a, b]) => [a.split(".")[0], b.split(".")[1], a.split(".")[2]].join(".")),
);
const token = fc.oneof({ weight: 5, arbitrary: validToken }, oddToken, brokenToken);
/** Paths that chain are rare among random tokens: half of them are made to. */
const chained = fc.array(who, { minLength: 1, maxLength: 5 }).map((makers) =>
  makers.map((maker, i) =>
    mintToken({
      sub: ids[maker] ?? "",
      aud: ids[makers[i + 1] ?? 0],
      expiresMs: nowMs + 600_000,
      privateKey: privateKeyOf(maker),
    }),
  ),
);
const tokens = fc.oneof(chained, fc.array(token, { maxLength: 5 }));
const peer = fc.option(
  who.map((index) => {
    const publicKey = keys[index]?.publicKey as KeyObject;
    // OPA takes a public key where it takes a certificate
    return { publicKey, certificatePem: publicKey.export({ type: "spki", format: "pem" }).toString() };
  }),
  { nil: undefined },
);
const path: fc.Arbitrary<PathInput> = fc.record({
  index: fc.nat(5),
  segments: tokens.map((all) => all.map((t) => ({ token: t }))),
  peer,
});
const name = fc.constantFrom("nse", "constructor", "__proto__", "");
const resource: fc.Arbitrary<ResourceInput> = fc
  .tuple(
    path,
    fc.record({
      name,
      owner: fc.constantFrom(...ids, ""),
      currentPathIds: fc.option(fc.array(fc.constantFrom(...ids, "")), { nil: undefined }),
    }),
  )
  .map(([base, asked]) => ({ ...base, resource: asked }));
const monitor: fc.Arbitrary<MonitorInput> = fc.record({
  spiffeId: fc.constantFrom(...ids, ""),
  selected: fc.array(fc.constantFrom("c1", "c2", "c3", ""), { maxLength: 3 }),
  own: fc.option(fc.array(fc.constantFrom("c1", "c2", ""), { maxLength: 2 }), { nil: undefined }),
  peer,
});

const opa = findOpa(process.env);
let skip: string | undefined;
before(() => {
  if (opa === undefined) skip = "opa is not installed: go install github.com/open-policy-agent/opa@v1.4.0, or OPA=/path/to/opa";
});

compare("tokens_valid", path, rules.tokensValid);
compare("tokens_expired", path, rules.tokensExpired);
compare("tokens_chained", path, rules.tokensChained);
compare("prev_token_signed", path, rules.previousTokenSigned);
compare("next_token_signed", path, rules.nextTokenSigned);
compare("client_allowed", resource, rules.clientAllowed);
compare("service_connection", monitor, rules.serviceConnection);

/** One evaluation of OPA for many inputs. */
function compare<I extends PolicyInput>(rule: string, inputs: fc.Arbitrary<I>, native: rules.Rule<I>): void {
  test(`row 8.3: ${rule} decides as OPA does, for any input`, (t) => {
    if (opa === undefined || skip !== undefined) return t.skip(skip);
    const cases = fc.sample(inputs, Number(process.env["WEFT_TEST_CYCLES"] ?? 300));
    const verdicts = evaluate(opa, rule, cases.map(regoInput));
    assert.equal(verdicts.length, cases.length);
    for (const [i, input] of cases.entries()) {
      const why = native(input, tools);
      assert.equal(
        why === undefined,
        verdicts[i],
        `${rule}: ours says ${why ?? "allowed"} for ${JSON.stringify(regoInput(input))}`,
      );
    }
    assert.ok(verdicts.includes(true) && verdicts.includes(false), "inputs of both kinds");
  });
}

function evaluate(command: string, rule: string, inputs: readonly unknown[]): boolean[] {
  const query = `[verdict | some one in input.cases; verdict := data.nsm.${rule}.valid with input as one]`;
  const output = execFileSync(command, ["eval", "--stdin-input", "--data", reference, "--format", "raw", query], {
    input: JSON.stringify({ cases: inputs }),
    maxBuffer: 64 * 1024 * 1024,
    encoding: "utf8",
  });
  return JSON.parse(output) as boolean[];
}

function privateKeyOf(index: number): KeyObject {
  return keys[index]?.privateKey as KeyObject;
}

test("row 8.2: expired, unchained, unsigned and malformed paths are refused, each with a reason for the log", () => {
  const good = [0, 1].map((maker) =>
    mintToken({ sub: ids[maker] ?? "", aud: ids[maker + 1], expiresMs: nowMs + 60_000, privateKey: privateKeyOf(maker) }),
  );
  const publicKey = keys[0]?.publicKey as KeyObject;
  const input = (all: readonly string[]): PathInput => ({
    index: 1,
    segments: all.map((one) => ({ token: one, name: "x" })),
    peer: { publicKey, certificatePem: "" },
  });
  const server = [rules.tokensValid, rules.tokensExpired, rules.tokensChained, rules.previousTokenSigned];
  for (const rule of server) assert.equal(rule(input(good), tools), undefined);
  assert.match(rules.tokensValid(input(["", ...good]), tools) ?? "", /segment 0 \(x\) is no JWT/);
  const later = { ...tools, nowMs: () => nowMs + 61_000 };
  assert.match(rules.tokensExpired(input(good), later) ?? "", /expired/);
  assert.match(rules.tokensChained(input(good.toReversed()), tools) ?? "", /do not chain/);
  assert.match(rules.previousTokenSigned(input(good.toReversed()), tools) ?? "", /not signed by the peer/);
});

test("row 8.2: no index and no segment makes a rule throw", () => {
  for (const index of [0, 1, 7]) {
    const empty: PathInput = { index, segments: [], peer: undefined };
    assert.notEqual(rules.previousTokenSigned(empty, tools), undefined);
    assert.notEqual(rules.nextTokenSigned(empty, tools), undefined);
    assert.equal(rules.tokensValid(empty, tools), undefined);
  }
});
