import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { Code } from "../status.js";
import { type Authority, createAuthority, type IssueOptions, restoreAuthority } from "./authority.js";
import { parseSpiffeId } from "./spiffe-id.js";
import { certificatesOfDer, certificatesOfPem, makeSvid, privateKeyOf } from "./svid.js";
import { type TrustBundles, verifyPeer } from "./verify-peer.js";

const hourMs = 3_600_000;
const ours = await createAuthority("weft.test", { lifetimeMs: 24 * hourMs });
const stranger = await createAuthority("weft.test", { lifetimeMs: 24 * hourMs });
const other = await createAuthority("other.test", { lifetimeMs: 24 * hourMs });
const trusted: TrustBundles = new Map([["weft.test", [ours.certificate]]]);
const federated: TrustBundles = new Map([...trusted, ["other.test", [other.certificate]]]);

const leafOf = async (authority: Authority, uris: readonly string[], options: Partial<IssueOptions> = {}) =>
  (await authority.issue(uris, { lifetimeMs: hourMs, ...options })).certificate;

test("a certificate of our trust domain is accepted, and its id read", async () => {
  const leaf = await leafOf(ours, ["spiffe://weft.test/ns/default/pod/a"]);
  assert.deepEqual(verifyPeer([leaf], trusted, Date.now()), {
    id: "spiffe://weft.test/ns/default/pod/a",
    trustDomain: "weft.test",
    path: "/ns/default/pod/a",
  });
});

test("a federated trust domain is verified by its own authorities only", async () => {
  const leaf = await leafOf(other, ["spiffe://other.test/a"]);
  assert.equal(verifyPeer([leaf], federated, Date.now()).trustDomain, "other.test");
  const lie = await leafOf(other, ["spiffe://weft.test/a"]);
  assert.throws(() => verifyPeer([lie], federated, Date.now()), { code: Code.UNAUTHENTICATED });
});

const refusals: { why: string; uris?: string[]; authority?: Authority; options?: Partial<IssueOptions>; atMs?: number }[] = [
  { why: "signed by another authority of the same name", authority: stranger },
  { why: "a trust domain we do not know", authority: other, uris: ["spiffe://other.test/a"] },
  { why: "two URI names", uris: ["spiffe://weft.test/a", "spiffe://weft.test/b"] },
  { why: "no URI name", uris: [] },
  { why: "a URI name that is no SPIFFE ID", uris: ["https://weft.test/a"] },
  { why: "expired", options: { notBeforeMs: Date.now() - 3 * hourMs, lifetimeMs: hourMs } },
  { why: "not yet valid", options: { notBeforeMs: Date.now() + hourMs, lifetimeMs: 2 * hourMs } },
  { why: "may sign others", options: { mayCertSign: true } },
];
for (const { why, uris = ["spiffe://weft.test/a"], authority = ours, options = {} } of refusals) {
  test(`refused: ${why}`, async () => {
    const leaf = await leafOf(authority, uris, options);
    assert.throws(() => verifyPeer([leaf], trusted, Date.now()), { code: Code.UNAUTHENTICATED });
  });
}

test("no certificate, or an endless chain, is refused", async () => {
  assert.throws(() => verifyPeer([], trusted, Date.now()), { code: Code.UNAUTHENTICATED });
  const leaf = await leafOf(stranger, ["spiffe://weft.test/a"]);
  const chain = Array.from({ length: 9 }, () => leaf);
  assert.throws(() => verifyPeer(chain, trusted, Date.now()), { code: Code.UNAUTHENTICATED });
});

test("a key that is not EC P-256, or not the certificate's, is refused for ourselves", async () => {
  const issued = await ours.issue(["spiffe://weft.test/a"], { lifetimeMs: hourMs });
  assert.equal(makeSvid([issued.certificate], issued.privateKey, trusted).id.path, "/a");
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  assert.throws(() => makeSvid([issued.certificate], privateKey, trusted), { code: Code.INVALID_ARGUMENT });
});

test("certificates are read from PEM and from concatenated DER; what is cut off is refused", async () => {
  const leaf = await leafOf(ours, ["spiffe://weft.test/a"]);
  assert.equal(certificatesOfPem(`${leaf.toString()}\n${ours.certificate.toString()}`, "file").length, 2);
  const der = Buffer.concat([leaf.raw, ours.certificate.raw]);
  assert.equal(certificatesOfDer(der, "bundle").length, 2);
  assert.throws(() => certificatesOfDer(der.subarray(0, der.length - 1), "bundle"), { code: Code.INVALID_ARGUMENT });
  assert.throws(() => certificatesOfPem("nothing", "file"), { code: Code.INVALID_ARGUMENT });
  assert.throws(() => privateKeyOf("nothing", "file"), { code: Code.INVALID_ARGUMENT });
});

test("an authority is the same after a restart", async () => {
  const again = await restoreAuthority("weft.test", ours.certificate.toString(), ours.privateKeyPem);
  const leaf = await leafOf(again, ["spiffe://weft.test/b"]);
  assert.equal(verifyPeer([leaf], trusted, Date.now()).path, "/b");
});

test("arbitrary bytes are refused and never crash", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.throws(() => certificatesOfDer(Buffer.from([0x30, ...bytes]), "bundle"), { code: Code.INVALID_ARGUMENT });
    }),
  );
});

const malformedIds = [
  "",
  "spiffe://",
  "spiffe://A/b",
  "spiffe://a//b",
  "spiffe://a/./b",
  "spiffe://a/../b",
  "http://a/b",
  "spiffe://a/b?c",
  `spiffe://a/${"x".repeat(2048)}`,
];
for (const id of malformedIds) {
  test(`no SPIFFE ID: ${id.slice(0, 40)}`, () => {
    assert.throws(() => parseSpiffeId(id), { code: Code.INVALID_ARGUMENT });
  });
}
