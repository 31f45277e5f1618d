/**
 * Every bad input of the issue "Trust and interop", each from outside, at the sockets of running components: refused with
 * UNAUTHENTICATED or PERMISSION_DENIED without a reason, and one line of the audit log with it. The rest of a mesh goes on.
 */
import assert from "node:assert/strict";
import { createHmac, createPublicKey, type KeyObject, sign } from "node:crypto";
import { after, before, test } from "node:test";
import { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code } from "../../sdk/status.js";
import { rsaLeaf, selfSigned } from "../../sdk/testing/certificates.js";
import { testAuthority } from "../../sdk/testing/identities.js";
import { startTrustedMesh, type TrustedMesh, wanted } from "./mesh.js";
import { openRaw, type RawStatus, type Shown } from "./raw-call.js";

const requestPath = "/networkservice.NetworkService/Request";
const closePath = "/networkservice.NetworkService/Close";
const registerPath = "/registry.NetworkServiceEndpointRegistry/Register";
const idOf = (name: string) => `spiffe://weft.test/${name}`;
const hourMs = 3_600_000;

let mesh: TrustedMesh;
const stops: (() => unknown)[] = [];
before(async () => {
  // one mesh for all: each item has to leave it as it was
  mesh = await startTrustedMesh({ after: (stop) => void stops.push(stop as () => unknown) });
  await mesh.serve({ name: "nse" });
});
after(async () => {
  for (const stop of stops) await stop();
});

const issue = (uris: readonly string[], options = {}) => mesh.authority.issue(uris, { lifetimeMs: hourMs, ...options });

const strangers: { why: string; shown: () => Promise<Shown>; reason: RegExp }[] = [
  { why: "no certificate", shown: async () => ({}), reason: /no certificate was shown/ },
  {
    why: "a certificate of a wrong trust domain",
    shown: async () => (await testAuthority("other.test")).issue(["spiffe://other.test/alice"], { lifetimeMs: hourMs }),
    reason: /trust domain other\.test .* not trusted/,
  },
  {
    why: "a certificate in our name by another authority",
    shown: async () => (await testAuthority()).issue([idOf("alice")], { lifetimeMs: hourMs }),
    reason: /does not lead to an authority/,
  },
  {
    why: "an expired certificate",
    shown: () => issue([idOf("alice")], { notBeforeMs: Date.now() - 2 * hourMs, lifetimeMs: hourMs }),
    reason: /expired at/,
  },
  { why: "a self-signed certificate", shown: () => selfSigned(idOf("alice")), reason: /does not lead to an authority|may sign/ },
  {
    why: "a certificate with two URI SANs",
    shown: () => issue([idOf("alice"), idOf("bob")]),
    reason: /2 URI names instead of one/,
  },
  { why: "an RSA SVID", shown: () => rsaLeaf(mesh.authority, idOf("alice")), reason: /is rsa, not EC P-256/ },
];
for (const { why, shown, reason } of strangers) {
  test(`bad input, row 8.1: ${why} is UNAUTHENTICATED at manager, registry and forwarder, with one line of audit each`, async () => {
    for (const url of [mesh.urls[0], mesh.registryUrl, mesh.forwarderUrl]) {
      const raw = await openRaw(url, await shown());
      const message = requestBytes("c1");
      await refusedOnce(
        () => raw.call(requestPath, message),
        { code: Code.UNAUTHENTICATED, details: "no valid identity was shown" },
        reason,
      );
      raw.close();
    }
  });
}

interface Minting {
  /** Of the one who calls. */
  readonly key: KeyObject;
  readonly audience: string;
}
const alg = { alg: "ES256", typ: "JWT" };
const tokens: { why: string; token: (minting: Minting) => string; reason: RegExp }[] = [
  { why: "no token", token: () => "", reason: /one has no token|no JWT/ },
  {
    why: "a token with a wrong sub",
    token: ({ key, audience }) => jwt(alg, { sub: idOf("bob"), aud: [audience] }, key),
    reason: /in the name of \\"spiffe:\/\/weft.test\/bob\\"/,
  },
  { why: "a token with a wrong aud", token: ({ key }) => jwt(alg, { aud: [idOf("bob")] }, key), reason: /do not chain/ },
  { why: "a token of alg none", token: ({ audience }) => jwt({ alg: "none" }, { aud: [audience] }), reason: /not signed/ },
  {
    why: "a token of HS256 signed with the public key",
    token: ({ key, audience }) => hs256({ aud: [audience] }, key),
    reason: /not signed/,
  },
  {
    why: "a token from the future",
    token: ({ key, audience }) => jwt(alg, { aud: [audience], nbf: Date.now() / 1000 + 3600 }, key),
    reason: /not valid before/,
  },
  { why: "an expired token", token: ({ key, audience }) => jwt(alg, { aud: [audience], exp: 1_000 }, key), reason: /expired/ },
  { why: "nonsense for a token", token: () => "a.b.c", reason: /one has no token|no JWT/ },
];
for (const { why, token, reason } of tokens) {
  test(`bad input, row 8.2: ${why} is PERMISSION_DENIED in Request, Close and Register, with one line of audit each`, async () => {
    const alice = await issue([idOf("alice")]);
    const { key, audience } = { key: alice.privateKey, audience: idOf("nsmgr-n1") };
    const raw = await openRaw(mesh.urls[0], alice);
    const registry = await openRaw(mesh.registryUrl, alice);
    const calls = [
      // an expired token never keeps an owner from ending a connection
      [raw, requestPath, requestBytes("bad"), audience],
      ...(why === "an expired token" ? [] : [[raw, closePath, closeBytes("bad"), audience] as const]),
      [raw, registerPath, entryBytes("bad"), audience],
      [registry, registerPath, entryBytes("bad"), idOf("registry")],
    ] as const;
    for (const [at, path, message, aud] of calls) {
      await refusedOnce(() => at.call(path, message, tokenHeaders(token({ key, audience: aud }))), noPrivileges, reason);
    }
    raw.close();
    registry.close();
  });
}

test("bad input, row 8.2: a token replayed by another, for a connection of its own or the owner's, is PERMISSION_DENIED", async () => {
  const [alice, mallory] = [await issue([idOf("alice")]), await issue([idOf("mallory")])];
  const heard = jwt(alg, { aud: [idOf("nsmgr-n1")] }, alice.privateKey);
  const raw = await openRaw(mesh.urls[0], mallory);
  for (const id of ["hers", "mine"]) {
    await refusedOnce(
      () => raw.call(requestPath, requestBytes(id), tokenHeaders(heard)),
      noPrivileges,
      /not signed by the peer's key/,
    );
  }
  raw.close();
});

test("bad input, row 8.2: a path whose hops do not chain is PERMISSION_DENIED", async () => {
  const [alice, mallory] = [await issue([idOf("alice")]), await issue([idOf("mallory")])];
  const alices = jwt(alg, { aud: [idOf("nsmgr-n2")] }, alice.privateKey);
  const own = jwt(alg, { sub: idOf("mallory"), aud: [idOf("nsmgr-n1")] }, mallory.privateKey);
  const message = NetworkServiceRequest.fromPartial({
    connection: {
      id: "m1",
      network_service: "service",
      path: {
        index: 1,
        path_segments: [
          { name: "alice", id: "a1", token: alices },
          { name: "mallory", id: "m1" },
        ],
      },
    },
  });
  const raw = await openRaw(mesh.urls[0], mallory);
  const bytes = NetworkServiceRequest.encode(message).finish();
  await refusedOnce(() => raw.call(requestPath, bytes, tokenHeaders(own)), noPrivileges, /do not chain/);
  raw.close();
});

test("bad input, row 8.4: a stolen connection id and a monitor selector for others' connections are PERMISSION_DENIED", async () => {
  const [alice, mallory] = [await mesh.workload("/alice"), await mesh.workload("/mallory")];
  const connection = await alice.request(wanted("owned"));
  const denied = { code: Code.PERMISSION_DENIED, details: "no sufficient privileges" };
  const attempts: [() => Promise<unknown>, RegExp][] = [
    [() => mallory.request(connection), /belongs to/],
    [() => mallory.close(connection), /belongs to/],
    [() => mallory.sees(mesh.urls[0], ["owned"]), /is not one of/],
    [() => mallory.sees(mesh.urls[0], [managerId(connection)]), /is not one of/],
  ];
  for (const [attempt, reason] of attempts) {
    const mark = mesh.audit.length;
    await assert.rejects(attempt(), denied);
    assert.equal(mesh.audit.length - mark, 1, "one line of audit");
    assert.match(mesh.audit.at(-1) ?? "", reason);
  }
  assert.deepEqual(await mallory.sees(mesh.urls[0]), []);
  await alice.close(await alice.request(connection));
});

test("after all of it the mesh serves as before, and no token, certificate or key is in any line of the log", async () => {
  const alice = await mesh.workload("/alice");
  await alice.close(await alice.request(wanted("after")));
  assert.ok(mesh.audit.length > 40, `${mesh.audit.length} lines of audit`);
  for (const line of mesh.log)
    assert.doesNotMatch(line, /eyJ[\w-]{8,}\.|BEGIN (CERTIFICATE|(EC )?PRIVATE KEY)|MII[A-Z][\w+/]{20,}/);
});

const noPrivileges = { code: Code.PERMISSION_DENIED, details: "no sufficient privileges" };

/** The call is refused as said, and there is one line of audit more, with the reason and without a secret. */
async function refusedOnce(call: () => Promise<RawStatus>, expected: RawStatus, reason: RegExp): Promise<void> {
  const mark = mesh.audit.length;
  assert.deepEqual(await call(), expected);
  const lines = mesh.audit.slice(mark);
  assert.equal(lines.length, 1, `one line of audit, not ${lines.join("")}`);
  assert.match(lines[0] ?? "", reason);
  assert.doesNotMatch(lines[0] ?? "", /eyJ/);
}

function tokenHeaders(token: string): Record<string, string> {
  if (token === "") return { path: emptyPath };
  const expires = new Date(Date.now() + hourMs).toISOString();
  return { "nsm-client-token": token, "nsm-client-token-expires": expires, path: emptyPath };
}
const emptyPath = '{"Index":0,"PathSegments":null}';

function requestBytes(id: string): Uint8Array {
  return NetworkServiceRequest.encode(NetworkServiceRequest.fromPartial({ connection: wanted(id) ?? {} })).finish();
}

function closeBytes(id: string): Uint8Array {
  const { connection } = NetworkServiceRequest.fromPartial({ connection: wanted(id) ?? {} });
  assert.ok(connection);
  return Connection.encode(connection).finish();
}

function entryBytes(name: string): Uint8Array {
  const entry = { name, network_service_names: ["service"], url: "tcp://127.0.0.1:9" };
  return NetworkServiceEndpoint.encode(NetworkServiceEndpoint.fromPartial(entry)).finish();
}

/** @param key  absent = no signature */
function jwt(header: object, claims: object, key?: KeyObject): string {
  const text = `${encoded(header)}.${encoded({ sub: idOf("alice"), exp: Math.floor(Date.now() / 1000) + 600, ...claims })}`;
  if (key === undefined) return `${text}.`;
  return `${text}.${sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

/** The classic forgery: the public key as the secret. */
function hs256(claims: object, key: KeyObject): string {
  const text = jwt({ alg: "HS256", typ: "JWT" }, claims).slice(0, -1);
  const secret = createPublicKey(key).export({ type: "spki", format: "pem" });
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function managerId(connection: Connection): string {
  return connection.path?.path_segments[1]?.id ?? "";
}
