import assert from "node:assert/strict";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { X509SVIDRequest, X509SVIDResponse } from "../gen/workload.js";
import { Code, isStatusError } from "../status.js";
import { createLog, silentLog } from "../telemetry/log.js";
import { testAuthority } from "../testing/identities.js";
import { temporaryFolder } from "../testing/test-server.js";
import { until } from "../testing/until.js";
import { listen } from "../transport/listen.js";
import type { Method } from "../transport/methods.js";
import type { Authority } from "./authority.js";
import { identityFromFiles } from "./files.js";
import type { IdentitySource } from "./source.js";
import { startIdentity } from "./start.js";
import type { X509Svid } from "./svid.js";
import { fetchSvid, identityFromWorkloadApi, svidOf } from "./workload-api-client.js";
import { serveWorkloadApi } from "./workload-api-server.js";

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

test("row 7.9: SVIDs of the Workload API: the first, each rotation, federated bundles, as they come", async (t) => {
  const authority = await testAuthority();
  const other = await testAuthority("other.test");
  const url = `unix://${temporaryFolder(t)}/agent.sock`;
  const idOf = ({ pid }: { pid: number }) => (pid === process.pid ? "spiffe://weft.test/me" : undefined);
  const server = await serveWorkloadApi({ url, authority, lifetimeMs: 3_600_000, idOf, ...options });
  t.after(() => server.close());
  const source = closing(t, await identityFromWorkloadApi(url, options));
  const first = source.current();
  assert.equal(first.id.id, "spiffe://weft.test/me");
  const told: X509Svid[] = [];
  source.onChange((svid) => told.push(svid));
  server.rotate();
  await until("the rotation", () => serial(source.current()) !== serial(first));
  server.federate("other.test", [other.certificate]);
  await until("the bundle", () => source.current().bundles.has("other.test"));
  assert.equal(told.at(-1), source.current());
});

test("row 7.9: SVIDs are renewed at half of their life without being asked for", async (t) => {
  const authority = await testAuthority();
  const url = `unix://${temporaryFolder(t)}/agent.sock`;
  const server = await serveWorkloadApi({ url, authority, lifetimeMs: 4_000, idOf: () => "spiffe://weft.test/me", ...options });
  t.after(() => server.close());
  const source = closing(t, await identityFromWorkloadApi(url, options));
  const first = source.current();
  await until("the renewal", () => serial(source.current()) !== serial(first));
  assert.ok(source.current().notAfterMs > first.notAfterMs);
});

test("row 7.9: an agent that disappears: the last SVID stays; when it is back, rotation goes on", async (t) => {
  const authority = await testAuthority();
  const url = `unix://${temporaryFolder(t)}/agent.sock`;
  const start = () =>
    serveWorkloadApi({ url, authority, lifetimeMs: 3_600_000, idOf: () => "spiffe://weft.test/me", ...options });
  const server = await start();
  const source = closing(t, await identityFromWorkloadApi(url, options));
  const first = source.current();
  await server.close();
  assert.equal(source.current(), first);
  const again = await start();
  t.after(() => again.close());
  await until("a new SVID", () => serial(source.current()) !== serial(first));
});

test("a Workload API that is not there yet is waited for; one that knows no identity for us, too, and the log says so", async (t) => {
  const authority = await testAuthority();
  const url = `unix://${temporaryFolder(t)}/agent.sock`;
  const lines: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line: string) => lines.push(line) } });
  const coming = identityFromWorkloadApi(url, { log, signal: never });
  await until("the first attempt", () => lines.length > 0);
  let known = false;
  const idOf = () => (known ? "spiffe://weft.test/me" : undefined);
  const server = await serveWorkloadApi({ url, authority, lifetimeMs: 3_600_000, idOf, ...options });
  t.after(() => server.close());
  await until("a refusal", () => lines.some((line) => line.includes("registration entry")));
  known = true;
  closing(t, await coming);
});

test("waiting for the first SVID ends with the signal", async (t) => {
  const waiting = new AbortController();
  const coming = identityFromWorkloadApi(`unix://${temporaryFolder(t)}/agent.sock`, { log: silentLog, signal: waiting.signal });
  waiting.abort(new Error("enough"));
  await assert.rejects(coming, /enough/);
});

test("garbage of an agent never ends the process and never replaces a good SVID", async (t) => {
  const authority = await testAuthority();
  const url = `unix://${temporaryFolder(t)}/agent.sock`;
  const good = await responseFor(authority);
  const [svid] = good.svids;
  const answers: (X509SVIDResponse | Buffer)[] = [
    good,
    X509SVIDResponse.fromPartial({}),
    X509SVIDResponse.fromPartial({ svids: [{ ...svid, x509_svid: Buffer.from("nonsense") }] }),
    X509SVIDResponse.fromPartial({ svids: [{ ...svid, x509_svid_key: Buffer.alloc(3) }] }),
    X509SVIDResponse.fromPartial({ svids: [{ ...svid, spiffe_id: "spiffe://weft.test/other" }] }),
    X509SVIDResponse.fromPartial({ svids: [{ ...svid, bundle: Buffer.alloc(200, 0x30) }] }),
    X509SVIDResponse.fromPartial({
      ...good,
      federated_bundles: { constructor: Buffer.alloc(0), "not a domain": Buffer.alloc(1) },
    }),
    Buffer.from("this is no protobuf message"),
  ];
  const method: Method<X509SVIDRequest, X509SVIDResponse | Buffer> = {
    path: fetchSvid.path,
    responseStream: true,
    request: X509SVIDRequest,
    response: { encode: () => assert.fail(), decode: () => assert.fail() },
  };
  async function* all() {
    for (const answer of answers) yield answer;
  }
  const encode = (answer: X509SVIDResponse | Buffer) =>
    Buffer.isBuffer(answer) ? answer : Buffer.from(X509SVIDResponse.encode(answer).finish());
  const listener = await listen({
    urls: [url],
    services: [{ name: "SpiffeWorkloadAPI", bind: (edge) => edge.stream(method, all, encode) }],
    ...options,
  });
  t.after(() => listener.drain(0));
  const lines: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line: string) => lines.push(line) } });
  const source = closing(t, await identityFromWorkloadApi(url, { log, signal: never }));
  await until("all answers", () => lines.filter((line) => line.includes("cannot be used")).length >= 6);
  await until("the end of the stream", () => lines.some((line) => line.includes("trying again")));
  assert.equal(serial(source.current()), serial(svidOf(good)));
});

test("any bytes for an answer of the Workload API: an SVID, or a refusal by status", async () => {
  const good = await responseFor(await testAuthority());
  const bytes = Buffer.from(X509SVIDResponse.encode(good).finish());
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
      const changed = Buffer.from(bytes);
      changed[at] = value;
      let response: X509SVIDResponse;
      try {
        response = X509SVIDResponse.decode(changed);
      } catch {
        return;
      }
      try {
        svidOf(response);
      } catch (error) {
        assert.ok(isStatusError(error), String(error));
      }
    }),
    { numRuns: 300 },
  );
});

test("row 7.9: files: followed; a half-written pair changes nothing", async (t) => {
  const authority = await testAuthority();
  const folder = temporaryFolder(t);
  const file = (name: string) => join(folder, name);
  const write = async () => {
    const { certificate, privateKey } = await authority.issue(["spiffe://weft.test/f"], { lifetimeMs: 3_600_000 });
    replace(file("tls.key"), privateKey.export({ type: "pkcs8", format: "pem" }) as string);
    return () => replace(file("tls.crt"), certificate.toString());
  };
  (await write())();
  writeFileSync(file("bundle.pem"), authority.certificate.toString());
  const files = { certificate: file("tls.crt"), key: file("tls.key"), bundles: [file("bundle.pem")] };
  const lines: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line: string) => lines.push(line) } });
  const source = closing(t, await identityFromFiles(files, { log, signal: never }));
  const first = source.current();
  assert.deepEqual([...first.bundles.keys()], ["weft.test"]);
  const finish = await write();
  await until("the mismatch to be seen", () => lines.some((line) => line.includes("is not that of")));
  assert.equal(source.current(), first);
  finish();
  await until("the new identity", () => serial(source.current()) !== serial(first));
  const absent = await rejection(identityFromFiles({ ...files, key: file("missing") }, options));
  assert.equal(absent.code, Code.FAILED_PRECONDITION);
  assert.match(absent.details, /missing does not exist/);
});

test("row 7.9: --insecure together with an identity, two identities, half of one, none: refused with the remedy", async () => {
  const none = {
    insecure: false,
    spiffeEndpointSocket: undefined,
    tlsCert: undefined,
    tlsKey: undefined,
    tlsBundle: [],
    caUrl: undefined,
    joinToken: undefined,
  };
  const agent = { spiffeEndpointSocket: "unix:///run/agent.sock" };
  for (const [settings, text] of [
    [{ insecure: true, ...agent }, /exclude each other/],
    [{ ...agent, tlsCert: "/a" }, /more than one/],
    [{ tlsCert: "/a" }, /set together/],
    [{ caUrl: "tcp://ca:1" }, /set together/],
    [{}, /no identity is configured.*--insecure/],
  ] as const) {
    const error = await rejection(startIdentity({ ...none, ...settings }, options));
    assert.equal(error.code, Code.INVALID_ARGUMENT);
    assert.match(error.details, text);
  }
  assert.equal(await startIdentity({ ...none, insecure: true }, options), undefined);
});

/** As an editor or Kubernetes does it: never half a file. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

async function responseFor(authority: Authority): Promise<X509SVIDResponse> {
  const { certificate, privateKey } = await authority.issue(["spiffe://weft.test/me"], { lifetimeMs: 3_600_000 });
  return X509SVIDResponse.fromPartial({
    svids: [
      {
        spiffe_id: "spiffe://weft.test/me",
        x509_svid: certificate.raw,
        x509_svid_key: privateKey.export({ type: "pkcs8", format: "der" }),
        bundle: authority.certificate.raw,
      },
    ],
  });
}
