import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { createTokenVerifier, mintToken, readClaims } from "./tokens.js";

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });
const nowMs = 1_700_000_000_000;
const verifier = () => createTokenVerifier({ nowMs: () => nowMs });
const mint = (key = privateKey) =>
  mintToken({ sub: "spiffe://weft.test/a", aud: "spiffe://weft.test/b", expiresMs: nowMs + 60_999, privateKey: key });
const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

test("a token has the header and claims that stock peers read, in their order", () => {
  const [header = "", claims = ""] = mint().split(".");
  assert.equal(Buffer.from(header, "base64url").toString(), '{"alg":"ES256","typ":"JWT"}');
  assert.equal(
    Buffer.from(claims, "base64url").toString(),
    '{"sub":"spiffe://weft.test/a","aud":["spiffe://weft.test/b"],"exp":1700000060}',
  );
  assert.deepEqual(readClaims(mint()), { sub: "spiffe://weft.test/a", aud: ["spiffe://weft.test/b"], expS: 1_700_000_060 });
});

test("the audience is left out for a peer without identity", () => {
  assert.deepEqual(readClaims(mintToken({ sub: "s", aud: undefined, expiresMs: nowMs, privateKey }))?.aud, []);
});

test("a signature holds for the key that made it and for no other, also when asked again", () => {
  const verify = verifier();
  const token = mint();
  for (let i = 0; i < 2; i++) {
    assert.equal(verify.isSignedBy(token, publicKey), true);
    assert.equal(verify.isSignedBy(token, stranger.publicKey), false);
  }
});

test("any changed byte of the claims breaks the signature", () => {
  const [header, , signature] = mint().split(".");
  const forged = `${header}.${encoded({ sub: "spiffe://weft.test/admin", aud: ["x"], exp: 2_000_000_000 })}.${signature}`;
  assert.equal(verifier().isSignedBy(forged, publicKey), false);
});

test("alg none and HS256 signed with the public key are refused", () => {
  const claims = encoded({ sub: "spiffe://weft.test/a", exp: 2_000_000_000 });
  const none = `${encoded({ alg: "none", typ: "JWT" })}.${claims}.`;
  const head = encoded({ alg: "HS256", typ: "JWT" });
  const pem = publicKey.export({ type: "spki", format: "pem" });
  const hs256 = `${head}.${claims}.${createHmac("sha256", pem).update(`${head}.${claims}`).digest("base64url")}`;
  for (const token of [none, hs256]) assert.equal(verifier().isSignedBy(token, publicKey), false);
});

test("a key of another kind verifies nothing", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  assert.equal(verifier().isSignedBy(mint(), rsa.publicKey), false);
  const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
  assert.equal(verifier().isSignedBy(mint(), p384.publicKey), false);
});

test("what is remembered is bounded and still right", () => {
  const verify = createTokenVerifier({ nowMs: () => nowMs, maxRemembered: 2 });
  const tokens = [mint(), mint(), mint(), mint()];
  for (const token of [...tokens, ...tokens]) assert.equal(verify.isSignedBy(token, publicKey), true);
});

test("arbitrary texts have no claims or claims of the right shape, and are signed by nobody", () => {
  const part = fc.oneof(
    fc.string(),
    fc.json().map((json) => Buffer.from(json).toString("base64url")),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), (parts) => {
      const token = parts.join(".");
      const claims = readClaims(token);
      if (claims !== undefined) assert.ok(Array.isArray(claims.aud) && typeof claims.sub === "string");
      assert.equal(verifier().isSignedBy(token, publicKey), false);
    }),
  );
});
