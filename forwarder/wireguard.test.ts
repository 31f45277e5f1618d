import assert from "node:assert/strict";
import { test } from "node:test";
import { MechanismClass, MechanismType } from "../sdk/api.js";
import type { Connection } from "../sdk/gen/connection.js";
import { makeMechanism, withParameters } from "../sdk/mechanisms/parameters.js";
import { wireguardOffer } from "../sdk/mechanisms/wireguard.js";
import { Code } from "../sdk/status.js";
import type { WireguardPort } from "./dataplane/dataplane.js";
import { createMesh } from "./testing/two-nodes.js";
import { publicKeyOf } from "./wireguard-ends.js";

const { KERNEL, VXLAN, WIREGUARD } = MechanismType;
const able = [KERNEL, VXLAN, WIREGUARD];
const everywhere = { mechanisms: { a: able, b: able } };
type Mesh = Awaited<ReturnType<typeof createMesh>>;

function endsOf(mesh: Mesh, place = 0): { near: WireguardPort; far: WireguardPort } {
  const near = [...mesh.a.plane.built.values()][place]?.endpoint;
  const far = [...mesh.b.plane.built.values()][place]?.client;
  assert.ok(near?.kind === "wireguard" && far?.kind === "wireguard", `${near?.kind} and ${far?.kind}`);
  return { near, far };
}

test("rows 1.3, 1.24: payload IP between nodes: each end has the other's key, address and port; the MTU is equal at all ends", async (t) => {
  const mesh = await createMesh(t, everywhere);
  mesh.b.plane.underlayMtu = 1400;
  const answer = await mesh.request("a", "remote", { payload: "IP" });
  const { near, far } = endsOf(mesh);
  assert.equal(near.remotePublicKey, publicKeyOf(far.privateKey));
  assert.equal(far.remotePublicKey, publicKeyOf(near.privateKey));
  assert.deepEqual([near.localAddress, near.remoteAddress, near.remotePort], ["198.18.0.1", "198.18.0.2", far.listenPort]);
  assert.deepEqual([far.localAddress, far.remoteAddress, far.remotePort], ["198.18.0.2", "198.18.0.1", near.listenPort]);
  const mtus = [...mesh.a.plane.built.values(), ...mesh.b.plane.built.values()].map(({ mtuBytes }) => mtuBytes);
  assert.deepEqual([...mtus, answer.context?.MTU], [1340, 1340, 1340]);
  for (const key of [near.privateKey, far.privateKey]) assert.ok(!JSON.stringify(answer).includes(key), "a private key leaves");
});

test("a refresh sends the earlier keys and ports again; another connection has its own; a new one after close has new keys", async (t) => {
  const mesh = await createMesh(t, everywhere);
  const first = await mesh.request("a", "remote", { payload: "IP" });
  const before = endsOf(mesh);
  const second = await mesh.request("a", "remote", { payload: "IP", connection: first });
  assert.deepEqual(endsOf(mesh), before);
  await mesh.request("a", "remote", { payload: "IP", id: "client-2" });
  const other = endsOf(mesh, 1);
  for (const end of ["near", "far"] as const) {
    assert.notEqual(other[end].privateKey, before[end].privateKey);
    assert.notEqual(other[end].listenPort, before[end].listenPort);
  }
  await mesh.close("a", second);
  await mesh.request("a", "remote", { payload: "IP", id: "client-3" });
  const { near } = endsOf(mesh, 1);
  assert.equal(near.listenPort, before.near.listenPort, "the port is free again");
  assert.notEqual(near.privateKey, before.near.privateKey);
});

test("payload ETHERNET between nodes keeps VXLAN, and payload IP on one node needs no tunnel", async (t) => {
  const mesh = await createMesh(t, everywhere);
  await mesh.request("a", "remote");
  assert.equal([...mesh.a.plane.built.values()][0]?.endpoint.kind, "vxlan");
  await mesh.request("a", "local", { payload: "IP", id: "client-2" });
  assert.equal([...mesh.a.plane.built.values()][1]?.endpoint.kind, "kernel");
});

for (const lacking of ["a", "b"] as const) {
  test(`where node ${lacking} has no WireGuard the refusal says how to get it, and nothing is built`, async (t) => {
    const mesh = await createMesh(t, { mechanisms: { ...everywhere.mechanisms, [lacking]: [KERNEL, VXLAN] } });
    await assert.rejects(mesh.request("a", "remote", { payload: "IP" }), {
      code: Code.FAILED_PRECONDITION,
      details: /apt-get install wireguard-go/,
    });
    assert.equal(mesh.a.plane.built.size + mesh.b.plane.built.size, 0);
  });
}

test("row 8.7: keys that have become old are rotated in two rounds of one refresh: both ends get the other's new key and port", async (t) => {
  const keyRotation = { periodMs: 3_600_000, oldUntilMs: -1, nowMs: () => now, drainMs: 2_000 };
  let now = Date.now();
  const mesh = await createMesh(t, { ...everywhere, keyRotation });
  for (const { plane } of [mesh.a, mesh.b])
    Object.assign(plane, { hasRoomBeside: async () => true, isBesideProven: async () => true });
  let connection = await mesh.request("a", "remote", { payload: "IP" });
  const before = endsOf(mesh);
  connection = await mesh.request("a", "remote", { payload: "IP", connection });
  assert.deepEqual(endsOf(mesh), before, "they are not old");
  now += 3_600_001;
  connection = await mesh.request("a", "remote", { payload: "IP", connection });
  const after = endsOf(mesh);
  for (const end of ["near", "far"] as const) {
    assert.notEqual(after[end].privateKey, before[end].privateKey);
    assert.notEqual(after[end].listenPort, before[end].listenPort);
    assert.equal(after[end].beside?.privateKey, before[end].privateKey, "the old one receives for a while");
  }
  assert.equal(after.near.remotePublicKey, publicKeyOf(after.far.privateKey));
  assert.equal(after.far.remotePublicKey, publicKeyOf(after.near.privateKey));
  assert.deepEqual([after.near.remotePort, after.far.remotePort], [after.far.listenPort, after.near.listenPort]);
  now += 10_000;
  connection = await mesh.request("a", "remote", { payload: "IP", connection });
  const settled = endsOf(mesh);
  assert.deepEqual([settled.near.beside, settled.far.beside], [undefined, undefined]);
  assert.equal(settled.near.privateKey, after.near.privateKey);
  for (const secret of [settled.near.privateKey, settled.far.privateKey]) assert.ok(!JSON.stringify(connection).includes(secret));
});

test("row 8.7: new keys whose handshake is not proven are not used, and the next refresh goes on with the same ones", async (t) => {
  const keyRotation = { periodMs: 0, oldUntilMs: Number.MAX_SAFE_INTEGER, nowMs: Date.now };
  const mesh = await createMesh(t, { ...everywhere, keyRotation });
  let proven = false;
  for (const { plane } of [mesh.a, mesh.b])
    Object.assign(plane, { hasRoomBeside: async () => true, isBesideProven: async () => proven });
  let connection = await mesh.request("a", "remote", { payload: "IP" });
  const before = endsOf(mesh);
  connection = await mesh.request("a", "remote", { payload: "IP", connection });
  const waiting = endsOf(mesh);
  assert.equal(waiting.near.privateKey, before.near.privateKey);
  assert.ok(waiting.near.beside !== undefined && waiting.far.beside !== undefined);
  proven = true;
  await mesh.request("a", "remote", { payload: "IP", connection });
  const after = endsOf(mesh);
  assert.equal(after.near.privateKey, waiting.near.beside.privateKey);
  assert.equal(after.far.privateKey, waiting.far.beside.privateKey);
});

test("row 8.7: a forwarder that does not rotate is left alone with its keys, and asked again only after the period", async (t) => {
  let now = Date.now();
  const keyRotation = { periodMs: 1_000_000, oldUntilMs: -1, nowMs: () => now };
  const mesh = await createMesh(t, { ...everywhere, keyRotation });
  // Node b answers as NSM's do: what it does not know comes back as it came.
  Object.assign(mesh.a.plane, { hasRoomBeside: async () => true, isBesideProven: async () => true });
  let connection = await mesh.request("a", "remote", { payload: "IP" });
  const before = endsOf(mesh);
  now += 1_000_001;
  connection = await mesh.request("a", "remote", { payload: "IP", connection });
  connection = await mesh.request("a", "remote", { payload: "IP", connection });
  assert.deepEqual(endsOf(mesh), before);
});

const key = Buffer.alloc(32, 7).toString("base64");
const good = wireguardOffer({ srcIp: "198.18.0.9", srcPort: 51_820, srcPublicKey: key, mtuBytes: 1440 });
const malformed = [
  { what: "no parameters", code: Code.INVALID_ARGUMENT, mechanism: makeMechanism(MechanismClass.REMOTE, WIREGUARD, {}) },
  { what: "no key", code: Code.INVALID_ARGUMENT, mechanism: withParameters(good, { src_public_key: undefined }) },
  { what: "a short key", code: Code.INVALID_ARGUMENT, mechanism: withParameters(good, { src_public_key: "AAAA" }) },
  {
    what: "a key in base64url",
    code: Code.INVALID_ARGUMENT,
    mechanism: withParameters(good, { src_public_key: `${"_".repeat(43)}=` }),
  },
  { what: "a port too large", code: Code.INVALID_ARGUMENT, mechanism: withParameters(good, { src_port: 65_536 }) },
  {
    what: "an address of another family",
    code: Code.FAILED_PRECONDITION,
    mechanism: withParameters(good, { src_ip: "2001:db8::1" }),
  },
];
for (const { what, code, mechanism } of malformed) {
  test(`a WIREGUARD preference with ${what} is refused and nothing is kept`, async (t) => {
    const mesh = await createMesh(t, everywhere);
    await assert.rejects(mesh.request("b", "remote", { payload: "IP", preferences: [mechanism] }), { code });
    assert.equal(mesh.b.plane.built.size, 0);
  });
}

test("what the asking side wrote comes back, with what the answering side decides", async (t) => {
  const mesh = await createMesh(t, everywhere);
  const answer: Connection = await mesh.request("b", "remote", { payload: "IP", preferences: [good] });
  const { dst_public_key: publicKey = "", ...rest } = answer.mechanism?.parameters ?? {};
  assert.equal(Buffer.from(publicKey, "base64").toString("base64"), publicKey);
  assert.equal(Buffer.from(publicKey, "base64").length, 32);
  assert.deepEqual(rest, {
    ...{ src_ip: "198.18.0.9", src_port: "51820", src_public_key: key, MTU: "1440" },
    ...{ dst_ip: "198.18.0.2", dst_port: "51820" },
  });
});
