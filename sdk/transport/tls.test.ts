import assert from "node:assert/strict";
import { type KeyObject, X509Certificate } from "node:crypto";
import { test } from "node:test";
import type { CallContext } from "../chain.js";
import { Connection, MonitorScopeSelector } from "../gen/connection.js";
import { createTokenVerifier, readClaims } from "../identity/tokens.js";
import { identityOf } from "../peer.js";
import { testAuthority, testIdentity } from "../testing/identities.js";
import { dialWith, limit, request, serveWith } from "../testing/tls-server.js";
import { until } from "../testing/until.js";

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
    await (round % 2 === 0 ? serverIdentity : clientIdentity).renew();
    const before = calls;
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

test("row 6.4: federation: with the other domain's bundle both sides trust each other", async (t) => {
  const [one, two] = [await testAuthority("one.test"), await testAuthority("two.test")];
  const bundles = new Map([one, two].map(({ trustDomain, certificate }) => [trustDomain, [certificate]]));
  const server = await serveWith(t, await testIdentity(one, "/server", { bundles }));
  const dialer = dialWith(t, await testIdentity(two, "/client", { bundles }));
  await dialer.connections(server.urls[1] ?? "").request(request, limit());
  assert.equal(identityOf((server.seen[0] as CallContext).peer)?.spiffeId, "spiffe://two.test/client");
});
