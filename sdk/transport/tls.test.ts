import "reflect-metadata";
import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, type KeyObject, webcrypto, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { Client, type ServiceError } from "@grpc/grpc-js";
import * as x509 from "@peculiar/x509";
import type { CallContext } from "../chain.js";
import { Connection, MonitorScopeSelector } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import type { Authority } from "../identity/authority.js";
import type { Identity } from "../identity/identity.js";
import { createTokenVerifier, readClaims } from "../identity/tokens.js";
import { createMonitorHub } from "../monitor/hub.js";
import { identityOf } from "../peer.js";
import { Code, isStatusError, toStatusError } from "../status.js";
import { createLog, type Log, silentLog } from "../telemetry/log.js";
import { testAuthority, testIdentity } from "../testing/identities.js";
import { temporaryFolder } from "../testing/test-server.js";
import { until } from "../testing/until.js";
import { createDialer, type Dialer } from "./dial.js";
import { type Listener, listen } from "./listen.js";
import { connectionService, monitorService } from "./services.js";
import { credentialsOver, handshake } from "./tls.js";

const never = new AbortController().signal;
const limit = () => ({ signal: AbortSignal.timeout(10_000) });
const request = NetworkServiceRequest.fromPartial({ connection: { id: "c-1" } });

interface Server {
  readonly urls: readonly string[];
  readonly seen: CallContext[];
  readonly lines: string[];
  readonly hub: ReturnType<typeof createMonitorHub>;
  readonly listener: Listener;
}

async function serveWith(t: TestContext, identity: Identity | undefined, answerAfter = Promise.resolve()): Promise<Server> {
  const seen: CallContext[] = [];
  const lines: string[] = [];
  const log = createLog({ name: "server", level: "info", destination: { write: (line: string) => lines.push(line) } });
  const hub = createMonitorHub();
  const listener = await listen({
    urls: [`unix://${join(temporaryFolder(t), "x.sock")}`, "tcp://127.0.0.1:0"],
    services: [
      connectionService({
        async request({ connection }, context) {
          seen.push(context);
          await answerAfter;
          return connection ?? Connection.fromPartial({});
        },
        close: async () => {},
      }),
      monitorService(hub),
    ],
    identity,
    log,
    signal: never,
  });
  t.after(() => listener.drain(0));
  return { urls: listener.urls, seen, lines, hub, listener };
}

function dialWith(t: TestContext, identity: Identity | undefined, log: Log = silentLog): Dialer {
  const dialer = createDialer({ identity, dialTimeoutMs: 5_000, log });
  t.after(() => dialer.close());
  return dialer;
}

async function codeOf(work: Promise<unknown>): Promise<{ code: Code; details: string }> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (error: unknown) => error,
  );
  assert.ok(isStatusError(error), String(error));
  return error;
}

test("row 8.1: mutual TLS on unix sockets and TCP: each side knows the other's SPIFFE ID, and every call carries a token", async (t) => {
  const authority = await testAuthority();
  const server = await serveWith(t, await testIdentity(authority, "/server"));
  const client = await testIdentity(authority, "/client");
  const dialer = dialWith(t, client);
  for (const url of server.urls) {
    let answeredBy: string | undefined;
    const onPeer = (peer: { spiffeId: string } | undefined): void => {
      answeredBy = peer?.spiffeId;
    };
    await dialer.connections(url).request(request, { ...limit(), onPeer });
    assert.equal(answeredBy, "spiffe://weft.test/server");
    const context = server.seen.at(-1) as CallContext;
    const peer = identityOf(context.peer);
    assert.equal(peer?.spiffeId, "spiffe://weft.test/client");
    assert.equal(context.peer.kind, url.startsWith("unix") ? "unix" : "tcp");
    if (context.peer.kind === "unix") assert.equal(context.peer.pid, process.pid);
    assert.equal(
      new X509Certificate(peer?.certificatePem ?? "").fingerprint256,
      client.current().certificates[0]?.fingerprint256,
    );
    const [token = ""] = context.metadata("nsm-client-token");
    assert.deepEqual(readClaims(token)?.aud, ["spiffe://weft.test/server"]);
    assert.equal(readClaims(token)?.sub, "spiffe://weft.test/client");
    assert.ok(createTokenVerifier({ nowMs: Date.now }).isSignedBy(token, peer?.publicKey as KeyObject));
    assert.ok(Date.parse(context.metadata("nsm-client-token-expires")[0] ?? "") > Date.now() + 500_000);
  }
});

test("row 8.1: rotation on either side drops no call and no stream; new calls use the new certificate", async (t) => {
  const authority = await testAuthority();
  const serverIdentity = await testIdentity(authority, "/server");
  const clientIdentity = await testIdentity(authority, "/client");
  const server = await serveWith(t, serverIdentity);
  const dialer = dialWith(t, clientIdentity);
  const [url = ""] = server.urls;
  const stop = new AbortController();
  const events: string[] = [];
  const watching = (async () => {
    for await (const event of dialer.monitor(url, MonitorScopeSelector.fromPartial({}), stop.signal)) {
      events.push(...Object.keys(event.connections));
    }
  })().catch(() => {});
  let running = true;
  let calls = 0;
  const callers = Array.from({ length: 8 }, async () => {
    while (running) {
      await dialer.connections(url).request(request, limit());
      calls += 1;
    }
  });
  for (let round = 0; round < 10; round += 1) {
    const before = calls;
    await (round % 2 === 0 ? serverIdentity : clientIdentity).renew();
    await until("calls after a rotation", () => calls > before + 20);
  }
  running = false;
  await Promise.all(callers);
  server.hub.publish(Connection.fromPartial({ id: "late", path: { index: 0, path_segments: [{ name: "n", id: "late" }] } }));
  await until("the event", () => events.includes("late"));
  const last = server.seen.at(-1) as CallContext;
  assert.equal(
    new X509Certificate(identityOf(last.peer)?.certificatePem ?? "").fingerprint256,
    clientIdentity.current().certificates[0]?.fingerprint256,
  );
  stop.abort();
  await watching;
});

test("row 8.1: a token is signed with the key of its connection, also after a rotation in the middle of a call", async (t) => {
  const authority = await testAuthority();
  const serverIdentity = await testIdentity(authority, "/server");
  const clientIdentity = await testIdentity(authority, "/client");
  let finish = (): void => {};
  const server = await serveWith(
    t,
    serverIdentity,
    new Promise((resolve) => {
      finish = resolve;
    }),
  );
  const before = serverIdentity.current();
  const call = dialWith(t, clientIdentity)
    .connections(server.urls[0] ?? "")
    .request(request, limit());
  await until("the call", () => server.seen.length === 1);
  await serverIdentity.renew();
  const { token } = await serverIdentity.mintToken((server.seen[0] as CallContext).peer);
  const verifier = createTokenVerifier({ nowMs: Date.now });
  assert.ok(verifier.isSignedBy(token, before.certificates[0]?.publicKey as KeyObject));
  assert.ok(!verifier.isSignedBy(token, serverIdentity.current().certificates[0]?.publicKey as KeyObject));
  finish();
  await call;
});

test("row 8.2: a token ends with the first of its own time and both certificates", async (t) => {
  const authority = await testAuthority();
  const server = await serveWith(t, await testIdentity(authority, "/server", { lifetimeMs: 60_000 }));
  const client = await testIdentity(authority, "/client", { lifetimeMs: 120_000 });
  await dialWith(t, client)
    .connections(server.urls[0] ?? "")
    .request(request, limit());
  const context = server.seen[0] as CallContext;
  const endsMs = Date.parse(context.metadata("nsm-client-token-expires")[0] ?? "") - Date.now();
  assert.ok(endsMs <= 60_000 && endsMs > 50_000, `${endsMs}`);
  const exp = (readClaims(context.metadata("nsm-client-token")[0] ?? "")?.expS ?? 0) * 1000 - Date.now();
  assert.ok(exp > 60_000 && exp <= 120_000, `${exp}`);
});

test("row 8.1: bad clients are refused with UNAUTHENTICATED; the reason is in the server's log and not told", async (t) => {
  const authority = await testAuthority();
  const stranger = await testAuthority("other.test");
  const server = await serveWith(t, await testIdentity(authority, "/server"));
  const issue = (uris: readonly string[], options = {}) => authority.issue(uris, { lifetimeMs: 60_000, ...options });
  const id = "spiffe://weft.test/client";
  const cases: readonly (readonly [string, { certificate?: X509Certificate; privateKey?: KeyObject }, RegExp])[] = [
    ["no certificate", {}, /no certificate was shown/],
    [
      "wrong trust domain",
      await stranger.issue(["spiffe://other.test/x"], { lifetimeMs: 60_000 }),
      /trust domain other\.test .* not trusted/,
    ],
    ["right name, wrong authority", await stranger.issue([id], { lifetimeMs: 60_000 }), /does not lead to an authority/],
    ["expired", await issue([id], { notBeforeMs: Date.now() - 120_000, lifetimeMs: 60_000 }), /expired/],
    ["two URI names", await issue([id, "spiffe://weft.test/b"]), /2 URI names instead of one/],
    ["no URI name", await issue([]), /0 URI names instead of one/],
    ["a signing leaf", await issue([id], { mayCertSign: true }), /may sign others/],
    ["RSA", await rsaLeaf(authority, id), /is rsa, not EC P-256/],
    ["self-signed", await selfSigned(id), /does not lead to an authority|may sign/],
  ];
  for (const url of server.urls) {
    for (const [name, shown, reason] of cases) {
      const mark = server.lines.length;
      const { code, details } = await codeOf(requestShowing(url, shown));
      assert.equal(code, Code.UNAUTHENTICATED, name);
      assert.equal(details, "no valid identity was shown", name);
      const line = server.lines.slice(mark).find((text) => text.includes('"audit"')) ?? "";
      assert.match(line, reason, name);
    }
  }
  assert.equal(server.seen.length, 0);
});

test("row 8.1: a client refuses a server of another trust domain, and tells why only to its own log", async (t) => {
  const authority = await testAuthority();
  const stranger = await testAuthority("other.test");
  const server = await serveWith(t, await testIdentity(stranger, "/server"));
  const lines: string[] = [];
  const log = createLog({ name: "client", destination: { write: (line: string) => lines.push(line) } });
  const { code, details } = await codeOf(
    dialWith(t, await testIdentity(authority, "/client"), log)
      .connections(server.urls[0] ?? "")
      .request(request, limit()),
  );
  assert.equal(code, Code.UNAUTHENTICATED);
  assert.doesNotMatch(details, /other\.test/);
  assert.match(lines.join(""), /trust domain other\.test/);
});

test("federation: with the other domain's bundle both sides trust each other", async (t) => {
  const [one, two] = [await testAuthority("one.test"), await testAuthority("two.test")];
  const bundles = new Map([one, two].map(({ trustDomain, certificate }) => [trustDomain, [certificate]]));
  const server = await serveWith(t, await testIdentity(one, "/server", { bundles }));
  const dialer = dialWith(t, await testIdentity(two, "/client", { bundles }));
  await dialer.connections(server.urls[1] ?? "").request(request, limit());
  assert.equal(identityOf((server.seen[0] as CallContext).peer)?.spiffeId, "spiffe://two.test/client");
});

test("a plain client at a TLS server, a TLS client at a plain server, and one that says nothing: refused, nothing left", async (t) => {
  const authority = await testAuthority();
  const server = await serveWith(t, await testIdentity(authority, "/server"));
  const plain = await serveWith(t, undefined);
  assert.equal(
    (
      await codeOf(
        dialWith(t, undefined)
          .connections(server.urls[0] ?? "")
          .request(request, limit()),
      )
    ).code,
    Code.UNAVAILABLE,
  );
  const client = await testIdentity(authority, "/client");
  const refused = await codeOf(
    dialWith(t, client)
      .connections(plain.urls[0] ?? "")
      .request(request, limit()),
  );
  assert.equal(refused.code, Code.UNAVAILABLE);
  assert.match(refused.details, /without an identity/);
  const silent = connectPlain({ path: (server.urls[0] ?? "").slice("unix://".length) });
  await once(silent, "connect");
  await server.listener.drain(0);
  silent.destroy();
});

/** One Request by hand, showing any certificate at all. */
async function requestShowing(url: string, shown: { certificate?: X509Certificate; privateKey?: KeyObject }): Promise<void> {
  const target = url.startsWith("unix") ? `unix:${url.slice("unix://".length)}` : `ipv4:${url.slice("tcp://".length)}`;
  const own =
    shown.certificate === undefined || shown.privateKey === undefined
      ? {}
      : { cert: shown.certificate.toString(), key: shown.privateKey.export({ type: "pkcs8", format: "pem" }) };
  const credentials = credentialsOver(
    (socket) =>
      new Promise((resolve, reject) => {
        const secured = connectTls({ ...handshake, ...own, socket }, () => resolve(secured));
        secured.on("error", reject);
      }),
  );
  const client = new Client(target, credentials, { "grpc.enable_retries": 0 });
  try {
    await new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest(
        "/networkservice.NetworkService/Request",
        (message: NetworkServiceRequest) => Buffer.from(NetworkServiceRequest.encode(message).finish()),
        (bytes: Buffer) => Connection.decode(bytes),
        request,
        { deadline: Date.now() + 5_000 },
        (error: ServiceError | null) => (error === null ? resolve() : reject(toStatusError(error))),
      );
    });
  } finally {
    client.close();
  }
}

/** A leaf of the authority with an RSA key. */
async function rsaLeaf(authority: Authority, id: string): Promise<{ certificate: X509Certificate; privateKey: KeyObject }> {
  const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const der = createPrivateKey(authority.privateKeyPem).export({ type: "pkcs8", format: "der" });
  const made = await x509.X509CertificateGenerator.create({
    subject: "O=rsa",
    issuer: new x509.X509Certificate(authority.certificate.raw).subject,
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 60_000),
    signingAlgorithm: ecdsa,
    signingKey: (await webcrypto.subtle.importKey("pkcs8", der, ecdsa, true, ["sign"])) as webcrypto.CryptoKey,
    publicKey: (await webcrypto.subtle.importKey(
      "spki",
      publicKey.export({ type: "spki", format: "der" }),
      { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
      true,
      ["verify"],
    )) as webcrypto.CryptoKey,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "url", value: id }])],
  });
  return { certificate: new X509Certificate(Buffer.from(made.rawData)), privateKey };
}

async function selfSigned(id: string): Promise<{ certificate: X509Certificate; privateKey: KeyObject }> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=self",
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 60_000),
    signingAlgorithm: algorithm,
    keys,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "url", value: id }])],
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    certificate: new X509Certificate(Buffer.from(made.rawData)),
    privateKey: createPrivateKey({ key: der, format: "der", type: "pkcs8" }),
  };
}
