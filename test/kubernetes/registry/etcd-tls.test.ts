/** A registry process on an etcd that wants certificates; and a whole mesh through a restored backup. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openEtcdStores } from "../../../registry/store/etcd/stores.js";
import { collect, endpoint, testRegistry } from "../../../registry/test-registry.js";
import { systemClock } from "../../../sdk/clock.js";
import { NetworkServiceEndpoint } from "../../../sdk/gen/registry.js";
import { Code } from "../../../sdk/status.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { startMesh } from "../../journey/mesh.js";
import { type EtcdMember, etcdMembers } from "../rig/etcd.js";
import { eventually } from "../rig/eventually.js";
import { lacking, program } from "../rig/programs.js";
import { makeTlsFiles, type TlsFiles } from "../rig/tls.js";

const skip = lacking("etcd", "etcdctl");

test("a registry on an etcd that asks for certificates; without ours it says what is missing", { skip }, async (t) => {
  const dir = folder(t);
  const tls = await makeTlsFiles(dir);
  const member = await startMember(t, dir, tls);
  const place = { store: "etcd", etcdEndpoints: [member.url] } as const;
  const files = { etcdCa: tls.caFile, etcdCert: tls.certFile, etcdKey: tls.keyFile };
  const first = await testRegistry(t, { ...place, ...files });
  await first.endpoints.register(endpoint("e1", { url: "tcp://10.0.0.1:5001", network_service_names: ["s"] }), first);
  await first.stop();
  const second = await testRegistry(t, { ...place, ...files });
  const found = await collect(
    second.endpoints.find(NetworkServiceEndpoint.fromPartial({}), { watch: false, signal: second.signal }),
  );
  assert.deepEqual(
    found.map(({ name, url }) => `${name} ${url}`),
    ["e1 tcp://10.0.0.1:5001"],
  );
  const ca = readFileSync(tls.caFile);
  for (const [missing, wrong] of [
    ["the authority", undefined],
    ["a certificate of ours", { ca }],
  ] as const) {
    const common = { prefix: "/x", leasePeriodMs: 1_000, clock: systemClock, log: silentLog };
    const tlsNow = wrong === undefined ? undefined : () => wrong;
    const opening = openEtcdStores({ endpoints: [member.url], tls: tlsNow, ...common, signal: AbortSignal.timeout(3_000) });
    await assert.rejects(opening, { code: Code.UNAVAILABLE, message: /certificate/ }, `without ${missing}`);
  }
});

test("certificates for etcd that were renewed are used without a restart", { skip }, async (t) => {
  const dir = folder(t);
  const tls = await makeTlsFiles(dir, 6_000);
  const endedMs = Date.now() + 6_000;
  const member = await startMember(t, dir, tls);
  const files = { etcdCa: tls.caFile, etcdCert: tls.certFile, etcdKey: tls.keyFile };
  const registry = await testRegistry(t, { store: "etcd", etcdEndpoints: [member.url], ...files });
  const register = (name: string) =>
    registry.endpoints.register(endpoint(name, { url: "tcp://10.0.0.1:5001", network_service_names: ["s"] }), registry);
  await register("before");
  await eventually("the end of the first certificate", () => Date.now() > endedMs);
  await tls.renew();
  // connections that were made with the old one go
  await member.stop("SIGKILL");
  await member.start();
  await eventually("a registration with the new certificate", () => register("after"), 30_000);
});

test("a backup of etcd is restored under a mesh: connections go on with their addresses, and no address is given twice", {
  skip,
}, async (t) => {
  const dir = folder(t);
  const member = await startMember(t, dir);
  const env = { WEFT_ETCD_ENDPOINTS: member.url };
  const mesh = await startMesh(t, { nodes: ["n1", "n2"], store: "etcd", env });
  await mesh.node("n2").serve({ name: "nse-1" });
  const connect = (...names: string[]) => Promise.all(names.map((id) => mesh.request("n1", { service: "service", id })));
  const before = await connect("a", "b", "c");
  const snapshot = join(dir, "snapshot.db");
  etcdctl("--endpoints", member.url, "snapshot", "save", snapshot);
  const later = await connect("d", "e");
  await member.stop("SIGKILL");
  rmSync(member.dir, { recursive: true });
  const peers = "http://127.0.0.1:1";
  const place = ["--data-dir", member.dir, "--name", member.name, "--initial-cluster", `${member.name}=${peers}`];
  etcdctl("snapshot", "restore", snapshot, ...place, "--initial-advertise-peer-urls", peers);
  await member.start();
  const old = [...before, ...later];
  for (const connection of old) {
    const refreshed = await mesh.refresh("n1", connection);
    assert.deepEqual(refreshed.context?.ip_context?.src_ip_addrs, connection.context?.ip_context?.src_ip_addrs);
  }
  const fresh = await eventually("new clients to be connected", () => connect("f", "g", "h"), 30_000);
  const addresses = [...old, ...fresh].flatMap(({ context }) => [
    ...(context?.ip_context?.src_ip_addrs ?? []),
    ...(context?.ip_context?.dst_ip_addrs ?? []),
  ]);
  const clients = [...old, ...fresh].flatMap(({ context }) => context?.ip_context?.src_ip_addrs ?? []);
  assert.equal(clients.length, 8);
  assert.equal(new Set(clients).size, 8, addresses.join());
});

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "wt-etcd-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function startMember(t: TestContext, dir: string, tls?: TlsFiles): Promise<EtcdMember> {
  const [member] = await etcdMembers(1, dir, tls);
  assert.ok(member);
  t.after(() => member.stop("SIGKILL"));
  await member.start();
  return member;
}

function etcdctl(...args: readonly string[]): void {
  execFileSync(program("etcdctl"), args, { env: { ETCDCTL_API: "3", PATH: process.env["PATH"] ?? "" }, stdio: "pipe" });
}
