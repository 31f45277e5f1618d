import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Code, isStatusError, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { testAuthority } from "../testing/identities.js";
import { temporaryFolder } from "../testing/test-server.js";
import { until } from "../testing/until.js";
import type { Authority } from "./authority.js";
import { openAuthority, openUsedTokens } from "./authority-store.js";
import { identityFromCa } from "./ca-client.js";
import { serveCa } from "./ca-server.js";
import { fingerprintOf, mintJoinToken, readJoinToken } from "./join-token.js";
import type { IdentitySource } from "./source.js";
import { privateKeyOf, type X509Svid } from "./svid.js";

const never = new AbortController().signal;
const options = { log: silentLog, signal: never };
const serial = (svid: X509Svid) => svid.certificates[0]?.serialNumber;

function closing(t: TestContext, source: IdentitySource): IdentitySource {
  t.after(() => source.close());
  return source;
}

async function rejection(work: Promise<unknown>) {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (thrown: unknown) => thrown,
  );
  assert.ok(isStatusError(error), String(error));
  return error;
}

test("row 7.9: the built-in authority: a join token once, then renewal by what it gave; a restart keeps the domain", async (t) => {
  const folder = temporaryFolder(t);
  const authority = await openAuthority(folder, "weft.test");
  assert.equal(statSync(join(folder, "root.key")).mode & 0o777, 0o600);
  const start = (listenOn: readonly string[]) =>
    serveCa({ listenOn, authority, used: openUsedTokens(folder), lifetimeMs: 3_000, ...options });
  const ca = await start(["tcp://127.0.0.1:0"]);
  const [url = ""] = ca.urls;
  const token = mint(authority, "spiffe://weft.test/app");
  const source = closing(t, await identityFromCa({ url, join: { token } }, options));
  const first = source.current();
  assert.equal(first.id.id, "spiffe://weft.test/app");
  await until("the renewal", () => serial(source.current()) !== serial(first));
  assert.notEqual(serial(source.current()), serial(first));
  const again = await rejection(identityFromCa({ url, join: { token } }, options));
  assert.equal(again.code, Code.UNAUTHENTICATED);
  assert.doesNotMatch(again.details, /used/);
  await ca.stop();
  const restarted = await serveCa({
    listenOn: [url],
    authority: await openAuthority(folder, "weft.test"),
    used: openUsedTokens(folder),
    lifetimeMs: 3_000,
    ...options,
  });
  t.after(() => restarted.stop());
  assert.equal((await rejection(identityFromCa({ url, join: { token } }, options))).code, Code.UNAUTHENTICATED);
  const before = serial(source.current());
  await until("a renewal by the restarted authority", () => serial(source.current()) !== before);
  await assert.rejects(openAuthority(folder, "other.test"), { code: Code.FAILED_PRECONDITION });
});

test("join tokens: forged, of another authority, ended, for another id: refused; a wildcard gives what is below it", async (t) => {
  const folder = temporaryFolder(t);
  const authority = await openAuthority(folder, "weft.test");
  const impostor = await testAuthority("weft.test");
  const ca = await serveCa({
    listenOn: [`unix://${folder}/ca.sock`],
    authority,
    used: openUsedTokens(folder),
    lifetimeMs: 60_000,
    ...options,
  });
  t.after(() => ca.stop());
  const [url = ""] = ca.urls;
  const ask = (joinToken: string, spiffeId?: string) =>
    identityFromCa({ url, join: { token: joinToken }, ...(spiffeId === undefined ? {} : { spiffeId }) }, options);
  const good = mint(authority, "spiffe://weft.test/app");
  const [text = "", signature = ""] = good.split(".");
  const claims = { ...readJoinToken(good), spiffeId: "spiffe://weft.test/weft/root" };
  const forged = `${Buffer.from(JSON.stringify(claims)).toString("base64url")}.${signature}`;
  for (const bad of [
    forged,
    mint(impostor, "spiffe://weft.test/app"),
    mint(authority, "spiffe://weft.test/app", -1),
    mint(authority, "spiffe://other.test/app"),
    mint(authority, "spiffe://weft.test/weft/ca"),
  ]) {
    assert.equal((await rejection(ask(bad))).code, Code.UNAUTHENTICATED);
  }
  assert.equal((await rejection(ask(text))).code, Code.INVALID_ARGUMENT);
  const wildcard = mint(authority, "spiffe://weft.test/ns/*", 60_000, true);
  for (const id of ["spiffe://weft.test/ns/a", "spiffe://weft.test/ns/b/c"]) {
    const source = closing(t, await ask(wildcard, id));
    assert.equal(source.current().id.id, id);
  }
  assert.equal((await rejection(ask(wildcard, "spiffe://weft.test/nsx"))).code, Code.UNAUTHENTICATED);
  assert.equal((await rejection(ask(wildcard))).code, Code.UNAUTHENTICATED);
});

test("row 7.9: a service account token of a pod: the attestor names its holder, the root is pinned, the file is read anew", async (t) => {
  const folder = temporaryFolder(t);
  const authority = await openAuthority(folder, "weft.test");
  const ca = await serveCa({
    listenOn: [`unix://${folder}/ca.sock`],
    authority,
    used: openUsedTokens(folder),
    lifetimeMs: 3_000,
    async attest(token, wanted) {
      if (token === "busy.busy.busy") throw statusError(Code.UNAVAILABLE, "nobody to ask");
      if (token !== "head.body.signature") throw statusError(Code.UNAUTHENTICATED, "unknown");
      return wanted === "" ? "spiffe://weft.test/ns/a/pod/b" : wanted;
    },
    ...options,
  });
  t.after(() => ca.stop());
  const [url = ""] = ca.urls;
  const file = join(folder, "token");
  const root = fingerprintOf(authority.certificate);
  writeFileSync(file, "head.body.other");
  assert.equal((await rejection(identityFromCa({ url, join: { file, root } }, options))).code, Code.UNAUTHENTICATED);
  writeFileSync(file, "busy.busy.busy\n");
  const source = identityFromCa({ url, join: { file, root } }, options);
  writeFileSync(file, "head.body.signature\n"); // it is tried again, and the file is read again
  const identity = closing(t, await source);
  assert.equal(identity.current().id.id, "spiffe://weft.test/ns/a/pod/b");
  const first = serial(identity.current());
  await until("the renewal", () => serial(identity.current()) !== first);
  const impostor = identityFromCa({ url, join: { file, root: "0".repeat(64) } }, options);
  assert.equal((await rejection(impostor)).code, Code.UNAUTHENTICATED);
});

function mint(authority: Authority, spiffeId: string, lifeMs = 60_000, reusable = false): string {
  const key = privateKeyOf(authority.privateKeyPem, "the root's key");
  return mintJoinToken({ spiffeId, expiresMs: Date.now() + lifeMs, reusable }, authority.certificate, key);
}
