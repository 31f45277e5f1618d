import assert from "node:assert/strict";
import type { KeyObject, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectPlain, createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { Client, type ServiceError } from "@grpc/grpc-js";
import type { CallContext } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { identityOf } from "../peer.js";
import { Code, toStatusError } from "../status.js";
import { createLog } from "../telemetry/log.js";
import { leafBelow, rsaLeaf, selfSigned } from "../testing/certificates.js";
import { credentialsOver } from "../testing/grpc-js-credentials.js";
import { testAuthority, testIdentity } from "../testing/identities.js";
import { temporaryFolder } from "../testing/test-server.js";
import { codeOf, dialWith, limit, request, serveWith } from "../testing/tls-server.js";
import { createDialer } from "./dial.js";
import { handshake } from "./tls.js";

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
  assert.equal(code, Code.UNAVAILABLE);
  assert.match(details, /no valid identity/);
  assert.doesNotMatch(details, /other\.test/);
  assert.match(lines.join(""), /trust domain other\.test/);
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

test("a server that accepts and never answers the handshake: UNAVAILABLE in time, and its socket is let go", async (t) => {
  const path = join(temporaryFolder(t), "mute.sock");
  const gone: Promise<unknown>[] = [];
  const mute = createServer((socket) => {
    socket.on("error", () => {});
    gone.push(once(socket.resume(), "close"));
  });
  mute.listen(path);
  await once(mute, "listening");
  t.after(() => mute.close());
  const identity = await testIdentity(await testAuthority(), "/client");
  const dialer = createDialer({ identity, dialTimeoutMs: 100 });
  assert.equal((await codeOf(dialer.connections(`unix://${path}`).request(request, limit()))).code, Code.UNAVAILABLE);
  dialer.close();
  await Promise.all(gone);
});

test("SPIRE's chains: an intermediate that is sent along leads to the bundle; without it the leaf leads nowhere", async (t) => {
  const authority = await testAuthority();
  const server = await serveWith(t, await testIdentity(authority, "/server"));
  const { leaf, intermediate, privateKey } = await leafBelow(authority, "spiffe://weft.test/deep");
  const [url = ""] = server.urls;
  await requestShowing(url, { certificate: leaf, privateKey, intermediate });
  assert.equal(identityOf((server.seen[0] as CallContext).peer)?.spiffeId, "spiffe://weft.test/deep");
  assert.equal((await codeOf(requestShowing(url, { certificate: leaf, privateKey }))).code, Code.UNAUTHENTICATED);
});

/** One Request by hand, showing any certificate at all. */
async function requestShowing(
  url: string,
  shown: { certificate?: X509Certificate; privateKey?: KeyObject; intermediate?: X509Certificate },
): Promise<void> {
  const target = url.startsWith("unix") ? `unix:${url.slice("unix://".length)}` : `ipv4:${url.slice("tcp://".length)}`;
  const own =
    shown.certificate === undefined || shown.privateKey === undefined
      ? {}
      : {
          cert: `${shown.certificate}${shown.intermediate ?? ""}`,
          key: shown.privateKey.export({ type: "pkcs8", format: "pem" }),
        };
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
