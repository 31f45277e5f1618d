import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { openAuthority } from "../../sdk/identity/authority-store.js";
import { openOwnerBook } from "../../sdk/policies/owner-book.js";
import { Code } from "../../sdk/status.js";
import { createLog, silentLog } from "../../sdk/telemetry/log.js";
import { testAuthority, testIdentity } from "../../sdk/testing/identities.js";
import { temporaryFolder } from "../../sdk/testing/test-server.js";
import { dialWith, limit } from "../../sdk/testing/tls-server.js";
import { until } from "../../sdk/testing/until.js";
import { type Limits, listen } from "../../sdk/transport/listen.js";
import { connectionService } from "../../sdk/transport/services.js";

const request = (label = "") => NetworkServiceRequest.fromPartial({ connection: { id: "c", labels: { label } } });

test("connections of one identity are bounded: further ones are closed with one line of audit, others are let in", async (t) => {
  const { url, as, audit } = await start(t, { maxConnectionsPerPeer: 3 });
  const many = [];
  for (let i = 0; i < 3; i++) many.push(await as("/many"));
  for (const one of many) await one.request(request(), limit());
  const further = await as("/many");
  await assert.rejects(further.request(request(), limit()), { code: Code.UNAVAILABLE });
  await assert.rejects((await as("/many")).request(request(), limit()), { code: Code.UNAVAILABLE });
  assert.equal(audit.length, 1, audit.join(""));
  assert.match(audit[0] ?? "", /has 3 connections here/);
  await (await as("/other")).request(request(), limit());
  assert.ok(url);
  many[0]?.close();
  await until("a place is free", () =>
    further.request(request(), limit()).then(
      () => true,
      () => false,
    ),
  );
});

test("a message beyond the bound is RESOURCE_EXHAUSTED, and the connection goes on", async (t) => {
  const { as } = await start(t, { maxMessageBytes: 10_000 });
  const client = await as("/client");
  await assert.rejects(client.request(request("x".repeat(20_000)), limit()), { code: Code.RESOURCE_EXHAUSTED });
  await client.request(request(), limit());
});

test("sockets are for everybody who may enter their folder, secrets and state for nobody else, whatever the umask", async (t) => {
  const before = process.umask(0o077);
  t.after(() => process.umask(before));
  const { url } = await start(t, {});
  const folder = temporaryFolder(t);
  assert.equal(modeOf(url.replace("unix://", "")), 0o777);
  await openAuthority(folder, "weft.test");
  assert.equal(modeOf(join(folder, "root.key")), 0o600);
  const book = openOwnerBook({ dir: folder, log: silentLog, nowMs: Date.now });
  book.set("c", "spiffe://weft.test/x", Date.now() + 1_000);
  book.close();
  assert.equal(modeOf(join(folder, "owners")), 0o600);
});

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

async function start(t: TestContext, limits: Partial<Limits>) {
  const audit: string[] = [];
  const write = (line: string): void => {
    if (line.includes('"audit"')) audit.push(line);
  };
  const authority = await testAuthority();
  const listener = await listen({
    urls: [`unix://${join(temporaryFolder(t), "x.sock")}`],
    services: [
      connectionService({
        request: async ({ connection }) => connection ?? Connection.fromPartial({}),
        close: async () => {},
      }),
    ],
    identity: await testIdentity(authority, "/server"),
    limits,
    log: createLog({ name: "server", level: "info", destination: { write } }),
    signal: new AbortController().signal,
  });
  t.after(() => listener.drain(0));
  const url = listener.urls[0] ?? "";
  return {
    url,
    audit,
    /** A new process of that identity, as far as the server can tell. */
    async as(path: string) {
      const dialer = dialWith(t, await testIdentity(authority, path));
      const { request: ask } = dialer.connections(url);
      return { request: ask, close: () => dialer.close() };
    },
  };
}
