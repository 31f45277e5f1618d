import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { readClaims } from "../../sdk/identity/tokens.js";
import { Code } from "../../sdk/status.js";
import { startTrustedMesh, type TrustedMesh, wanted } from "./mesh.js";

const denied = { code: Code.PERMISSION_DENIED };

for (const joined of [false, true]) {
  const shape = joined ? "manager and forwarder in one process" : "each part a process";
  test(`row 8.2: with identities a connection is made, refreshed and closed, on one node and over two: ${shape}`, async (t) => {
    const mesh = await startTrustedMesh(t, {}, { joined });
    await mesh.serve({ name: "near" });
    await mesh.serve({ name: "far", node: 1, services: ["service"] });
    const alice = await mesh.workload("/alice");
    for (const [endpoint, hops] of [
      ["near", 4],
      ["far", 6],
    ] as const) {
      const first = await alice.request({ ...wanted(`c-${endpoint}`), network_service_endpoint_name: endpoint });
      const tokens = first.path?.path_segments.map(({ token }) => readClaims(token)) ?? [];
      assert.equal(tokens.length, hops);
      // each hop's token is for the next
      for (let i = 1; i < tokens.length; i++) assert.deepEqual(tokens[i - 1]?.aud, [tokens[i]?.sub]);
      const second = await alice.request(first);
      await alice.close(second);
    }
    assert.deepEqual(mesh.audit, []);
  });
}

test("row 8.3: in a node of one process nobody ends or takes another's connection, at either socket", async (t) => {
  const mesh = await startTrustedMesh(t, {}, { joined: true });
  await mesh.serve({ name: "nse" });
  const [alice, mallory] = [await mesh.workload("/alice"), await mesh.workload("/mallory")];
  const connection = await alice.request(wanted("c1"));
  await assert.rejects(mallory.request(connection), denied);
  await assert.rejects(mallory.close(connection), denied);
  assert.deepEqual(await mallory.sees(mesh.forwarderUrl), []);
  await alice.close(await alice.request(connection));
});

test("row 8.4: others see nothing of a connection; managers and forwarders see those that go through them", async (t) => {
  const mesh = await startTrustedMesh(t);
  await mesh.serve({ name: "nse" });
  const [alice, mallory, manager] = [
    await mesh.workload("/alice"),
    await mesh.workload("/mallory"),
    await mesh.workload("/nsmgr-n1"),
  ];
  const connection = await alice.request(wanted("c1"));
  const ids = segmentIds(connection);
  assert.deepEqual(await alice.sees(mesh.urls[0]), [ids[1]]);
  assert.deepEqual(await alice.sees(mesh.urls[0], ["c1"]), [ids[1]]);
  assert.deepEqual(await mallory.sees(mesh.urls[0]), [], "an open selector shows nothing of others");
  await assert.rejects(mallory.sees(mesh.urls[0], ["c1"]), denied);
  assert.match(mesh.audit.at(-1) ?? "", /refused monitor.*mallory/);
  assert.deepEqual(await mallory.sees(mesh.urls[0], ["unheard-of"]), [], "a client watches before its first request");
  assert.deepEqual(await manager.sees(mesh.forwarderUrl), [ids[2]]);
  assert.deepEqual(await mallory.sees(mesh.forwarderUrl), []);
  await assert.rejects(mallory.dialer.inspect(mesh.urls[0]).getReport({ section: "" }, { signal: mesh.signal }), denied);
});

test("a stolen connection id is of no use at any hop, and the owner notices nothing", async (t) => {
  const mesh = await startTrustedMesh(t);
  await mesh.serve({ name: "nse" });
  const [alice, mallory] = [await mesh.workload("/alice"), await mesh.workload("/mallory")];
  const connection = await alice.request(wanted("c1"));
  // with all that the owner knows: at the manager, and, with a path of its own up to there, at the forwarder behind it
  await assert.rejects(mallory.request(connection), denied);
  await assert.rejects(mallory.close(connection), denied);
  await assert.rejects(mallory.request(intoForwarder(connection)), denied);
  await assert.rejects(mallory.close(intoForwarder(connection)), denied);
  await assert.rejects(directlyAtForwarder(mesh, mallory.dialer, connection), denied);
  const [audit] = [mesh.audit.join("")];
  assert.match(audit, /"component":"nsmgr-n1"[^\n]*belongs to/);
  assert.match(audit, /"component":"forwarder-n1"[^\n]*belongs to/);
  assert.doesNotMatch(audit, /eyJ/, "no token in any log");
  const lines = mesh.audit.length;
  const again = await alice.request(connection);
  assert.deepEqual(segmentIds(again), segmentIds(connection));
  await alice.close(again);
  assert.equal(mesh.audit.length, lines);
});

test("row 8.5: a name in the registry is its first identity's, at the manager and at the registry", async (t) => {
  const mesh = await startTrustedMesh(t);
  await mesh.serve({ name: "nse" });
  const mallory = await mesh.workload("/mallory");
  const entry = NetworkServiceEndpoint.fromPartial({
    name: "nse",
    network_service_names: ["service"],
    url: "tcp://127.0.0.1:9",
  });
  const { signal } = mesh;
  for (const url of [mesh.urls[0], mesh.urls[1], mesh.registryUrl]) {
    const registry = mallory.dialer.endpointRegistry(url);
    await assert.rejects(registry.register(entry, { signal }), denied, url);
    if (url !== mesh.urls[1]) await assert.rejects(registry.unregister(entry, { signal }), denied, url);
  }
  assert.match(
    mesh.audit.join(""),
    /client_allowed.*\\"nse\\" belongs to \\"spiffe:\/\/weft.test\/nse\\", not to \\"spiffe:\/\/weft.test\/mallory\\"/,
  );
  const found: string[] = [];
  for await (const { entry: one } of mallory.dialer
    .endpointRegistry(mesh.registryUrl)
    .find(NetworkServiceEndpoint.fromPartial({ name: "nse" }), { watch: false, signal })) {
    found.push(one.path_ids[0] ?? "");
  }
  assert.deepEqual(found, ["spiffe://weft.test/nse"]);
});

test("row 8.3: a policy of a mask in the settings changes the verdict", async (t) => {
  const mesh = await startTrustedMesh(t, { WEFT_MONITOR_POLICIES: "etc/nsm/opa/monitor/.*.rego" });
  await mesh.serve({ name: "nse" });
  const alice = await mesh.workload("/alice");
  const connection = await alice.request(wanted("c1"));
  assert.equal((await alice.sees(mesh.urls[0], ["c1"])).length, 1);
  await assert.rejects(alice.sees(mesh.urls[0]), denied, "upstream's rule wants ids");
  await alice.close(connection);
});

function segmentIds(connection: Connection): string[] {
  return connection.path?.path_segments.map(({ id }) => id) ?? [];
}

/** A path of the thief's own at the manager that goes on to the victim's connection in the forwarder. */
function intoForwarder(victim: Connection): Connection {
  const [, manager, ...later] = victim.path?.path_segments ?? [];
  if (manager === undefined) throw new Error("no path");
  const thief = { name: "mallory", id: "m1", token: "", metrics: {} };
  return { ...victim, id: "m1", path: { index: 0, path_segments: [thief, { ...manager, id: "m2" }, ...later] } };
}

async function directlyAtForwarder(mesh: TrustedMesh, dialer: import("../../sdk/transport/dial.js").Dialer, victim: Connection) {
  const path = victim.path;
  if (path === undefined) throw new Error("no path");
  const connection = { ...victim, id: path.path_segments[1]?.id ?? "", path: { ...path, index: 1 } };
  await dialer.connections(mesh.forwarderUrl).close(connection, { signal: mesh.signal });
}
