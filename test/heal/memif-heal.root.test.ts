/** Healing with memif legs: components are killed while numbered packets go through rings in shared memory. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { canEncrypt } from "../../cli/chaos/run.js";
import { notBuilt } from "../../forwarder/native/testing/tool.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import { until } from "../../sdk/testing/until.js";
import { coreProcesses, coreStarts } from "./fast-plane.js";
import { connectionsAtHops, healing, listenTo } from "./listen.js";
import { type MemifClient, memifClient } from "./memif-ping.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";
import type { ComponentProcess } from "./processes.js";
import { trafficOf } from "./traffic.js";

const skip = notBuilt() ?? false;
const healTimeoutMs = 30_000;

test("rows 7.1, 7.2, 7.4, 7.5, 7.8: memif to memif, to an interface and to the other node, and an interface to memif: components are killed, no packet is lost", {
  skip,
}, async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "fast" });
  const [near, far] = mesh.nodes;
  assert.ok(near && far);
  await mesh.endpoint(0, "ring-1", "rings", "172.16.1.0/24", {}, "ring-1", "memif");
  await mesh.endpoint(0, "link-1", "links", "172.16.2.0/24");
  await mesh.endpoint(1, "ring-2", "far-rings", "172.16.3.0/24", {}, "ring-2", "memif");
  const memifs: Readonly<Record<string, MemifClient>> = {
    "memif to memif": await memifClient(t, mesh, 0, { url: "memif://rings" }),
    "memif to an interface": await memifClient(t, mesh, 0, { url: "memif://links" }),
    "memif to memif on the other node": await memifClient(t, mesh, 0, { url: "memif://far-rings" }),
  };
  const kernel = await mesh.client(0, { url: "kernel://rings/nsm-1", livenessIntervalMs: 50, livenessTimeoutMs: 2_000 });
  const connections = [...Object.values(memifs).map(({ connection }) => connection), kernel];
  const deaths: readonly (readonly ComponentProcess[])[] = [
    [near.forwarder],
    [far.forwarder],
    [near.nsmgr],
    [far.nsmgr],
    [mesh.registry],
    [near.nsmgr, near.forwarder],
    [mesh.registry, near.nsmgr, near.forwarder, far.nsmgr, far.forwarder],
  ];
  const known = async (): Promise<boolean> => (await connectionsAtHops(mesh)).join() === "4,4,1,1";
  for (const dying of deaths) {
    const heard = connections.map((connection) => listenTo(connection));
    for (const client of Object.values(memifs)) client.begin();
    const traffic = trafficOf(kernel);
    await Promise.all(dying.map((component) => component.kill()));
    await Promise.all(dying.map((component) => component.start()));
    const backMs = performance.now();
    await until("every hop to know all connections", known, healTimeoutMs);
    await until("healing", () => heard.every((told) => told.length === 0 || told.at(-1) === "healed"), healTimeoutMs);
    const tookMs = Math.round(performance.now() - backMs);
    const names = dying.map(({ name }) => name).join(" + ");
    t.diagnostic(`${names}: well ${tookMs} ms after all served again`);
    for (const [what, client] of Object.entries(memifs)) {
      const { lost, doubled } = await tell(t, what, client);
      assert.deepEqual([lost, doubled], [0, 0], `${names}: ${what}`);
    }
    const { sent, lost } = await traffic.stop();
    t.diagnostic(`  an interface to memif: ${sent} packets, ${lost} lost`);
    assert.equal(lost, 0, `${names}: an interface to memif`);
  }
  const ends = connections.map(({ connection }) => connection.network_service_endpoint_name);
  assert.deepEqual(ends, ["ring-1", "link-1", "ring-2", "ring-1"]);
});

test("rows 7.3, 7.5, 7.6: the data plane itself dies, memif endpoints die alone and with their manager, then everything dies: packets again", {
  skip,
}, async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "auto" });
  const [near, far] = mesh.nodes;
  assert.ok(near && far);
  const encrypted = canEncrypt();
  await register(mesh, "vault", encrypted ? "IP" : "ETHERNET");
  if (!encrypted) t.diagnostic("payload ETHERNET instead of IP: install wireguard-go, and have /dev/net/tun");
  const dying = await mesh.endpoint(0, "ring-1", "rings", "172.16.1.0/24", {}, "ring-1", "memif");
  const vault = await mesh.endpoint(1, "vault-1", "vault", "172.16.3.0/24", {}, "vault-1", "memif");
  const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 200 };
  const rings = await memifClient(t, mesh, 0, { url: "memif://rings", ...probe });
  const remote = await memifClient(t, mesh, 0, { url: "memif://vault", ...probe });
  const both = { "on one node": rings, "to the other node": remote };
  const begin = (): void => {
    for (const client of Object.values(both)) client.begin();
  };
  const told = async (what: string): Promise<void> => {
    t.diagnostic(what);
    for (const [where, client] of Object.entries(both)) await tell(t, where, client);
  };

  begin();
  const { worker } = await coreProcesses(near.stateDir);
  process.kill(worker, "SIGKILL");
  await until("another worker", async () => (await coreStarts(near.stateDir)) > 1);
  t.diagnostic("worker of the packet core killed");
  // towards the tunnel of the kernel a burst may go twice (docs/fast-path.md)
  for (const [where, client] of Object.entries(both)) assert.equal((await tell(t, where, client)).lost, 0, where);

  begin();
  const { keeper } = await coreProcesses(near.stateDir);
  process.kill(keeper, "SIGKILL");
  await until("another keeper", async () => {
    const now = await coreProcesses(near.stateDir).catch(() => undefined);
    return now !== undefined && now.keeper !== keeper;
  });
  await told("keeper of the packet core killed, and with it every ring");

  begin();
  await dying.kill();
  await dying.start();
  await told("endpoint process on this node killed and started again");
  assert.equal(rings.connection.connection.network_service_endpoint_name, "ring-1");

  const next = await mesh.endpoint(1, "ring-2", "rings", "172.16.2.0/24", {}, "ring-2", "memif");
  begin();
  const moved = healing(rings.connection);
  await dying.kill();
  mesh.removePod(dying.netns);
  const { how, tookMs: movedMs } = await moved;
  t.diagnostic(`healed by ${how} in ${movedMs} ms`);
  await told("endpoint on this node killed with its pod; another on the other node");
  assert.equal(rings.connection.connection.network_service_endpoint_name, "ring-2");

  const local = await mesh.endpoint(0, "ring-3", "rings", "172.16.4.0/24", {}, "ring-3", "memif");
  begin();
  const again = healing(rings.connection);
  await Promise.all([next.kill(), far.nsmgr.kill()]);
  mesh.removePod(next.netns);
  const { how: thenHow, tookMs: thenMs } = await again;
  t.diagnostic(`healed by ${thenHow} in ${thenMs} ms`);
  await told("manager of the other node killed, and with it the endpoint there");
  await far.nsmgr.start();

  begin();
  await Promise.all([local.kill(), near.nsmgr.kill()]);
  await Promise.all([near.nsmgr.start(), local.start()]);
  const servedMs = performance.now();
  await until("packets again", () => rings.lastAnswerMs() > servedMs, healTimeoutMs);
  await told("endpoint and manager of this node killed and started again");
  assert.equal(rings.connection.connection.network_service_endpoint_name, "ring-3");

  begin();
  const all = [mesh.registry, near.nsmgr, near.forwarder, far.nsmgr, far.forwarder, vault];
  const keepers = [await coreProcesses(near.stateDir), await coreProcesses(far.stateDir)];
  const heard = listenTo(remote.connection);
  await Promise.all(all.map((component) => component.kill()));
  for (const each of keepers) process.kill(each.keeper, "SIGKILL");
  await Promise.all(all.map((component) => component.start()));
  const backMs = performance.now();
  await until("packets again", () => rings.lastAnswerMs() > backMs && remote.lastAnswerMs() > backMs, healTimeoutMs);
  await until("healing", () => heard.at(-1) === "healed", healTimeoutMs);
  const tookMs = Math.round(performance.now() - backMs);
  await told(`everything killed, with the packet cores: well ${tookMs} ms after all served again`);
  assert.equal(remote.connection.connection.network_service_endpoint_name, "vault-1");
});

async function tell(t: TestContext, what: string, client: MemifClient) {
  const report = await client.report();
  const { sent, lost, doubled, longestGapMs } = report;
  t.diagnostic(`  ${what}: ${sent} packets, ${lost} lost, ${doubled} twice, longest gap ${longestGapMs} ms`);
  return report;
}

async function register(mesh: ProcessMesh, name: string, payload: "ETHERNET" | "IP"): Promise<void> {
  const registry = mesh.dialer.serviceRegistry(mesh.nodes[0]?.url ?? "");
  await registry.register(NetworkService.fromPartial({ name, payload }), { signal: AbortSignal.timeout(10_000) });
}
