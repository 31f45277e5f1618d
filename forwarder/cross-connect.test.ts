import assert from "node:assert/strict";
import { test } from "node:test";
import type { Mechanism } from "../sdk/gen/connection.js";
import { noopMechanism } from "../sdk/mechanisms/noop.js";
import { withParameters } from "../sdk/mechanisms/parameters.js";
import { Code, statusError } from "../sdk/status.js";
import { createMesh, givesVni2, ip, kernel } from "./testing/two-nodes.js";

test("row 1.1: a local connection joins the client's namespace and the endpoint's", async (t) => {
  const mesh = await createMesh(t);
  const answer = await mesh.request("a", "local");
  assert.equal(answer.mechanism?.type, "KERNEL");
  assert.deepEqual(answer.mechanism?.parameters, { inodeURL: "file:///run/netns/wt-client", name: "nsm-1" });
  const [built] = mesh.a.plane.built.values();
  assert.ok(built?.client.kind === "kernel" && built.endpoint.kind === "kernel");
  assert.equal(built.client.netnsUrl, "file:///run/netns/wt-client");
  assert.deepEqual(built.client.addresses, ["172.16.1.101/32"]);
  assert.deepEqual(built.endpoint.addresses, ["172.16.1.100/32"]);
  assert.equal(built.endpoint.interfaceName, "nse-if");
  assert.equal(built.mtuBytes, 1500);
  assert.equal(answer.context?.MTU, 1500);
  assert.equal(built.client.alias, "server-client-1");
  await mesh.close("a", answer);
  assert.equal(mesh.a.plane.built.size, 0);
  assert.deepEqual([...mesh.endpoint.open], []);
});

test("rows 1.2, 1.24: between nodes both forwarders build one VNI, and the MTU is equal at all ends", async (t) => {
  const mesh = await createMesh(t);
  mesh.b.plane.underlayMtu = 1400;
  const answer = await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  const [far] = mesh.b.plane.built.values();
  assert.ok(near?.client.kind === "kernel" && near.endpoint.kind === "vxlan");
  assert.ok(far?.client.kind === "vxlan" && far.endpoint.kind === "kernel");
  assert.equal(near.endpoint.vni, far.client.vni);
  assert.equal(near.endpoint.vni % 2, 0, "the lower address asks: the other side chooses an even number");
  assert.deepEqual([near.endpoint.localAddress, near.endpoint.remoteAddress], ["198.18.0.1", "198.18.0.2"]);
  assert.deepEqual([far.client.localAddress, far.client.remoteAddress], ["198.18.0.2", "198.18.0.1"]);
  assert.deepEqual([near.mtuBytes, far.mtuBytes, answer.context?.MTU], [1346, 1346, 1346]);
  await mesh.close("a", answer);
  assert.equal(mesh.a.plane.built.size + mesh.b.plane.built.size, 0);
});

test("row 1.23: another UDP port is used by both; different ones are refused with the setting's name", async (t) => {
  const mesh = await createMesh(t, { vxlanPort: { a: 8472, b: 8472 } });
  await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  assert.ok(near?.endpoint.kind === "vxlan" && near.endpoint.udpPort === 8472);
  const uneven = await createMesh(t, { vxlanPort: { a: 8472, b: 4789 } });
  await assert.rejects(uneven.request("a", "remote"), { code: Code.FAILED_PRECONDITION, details: /NSM_VXLAN_PORT/ });
});

test("row 1.5: the order of NSM_MECHANISM_PRIORITY is the order of the proposals", async (t) => {
  for (const [priority, first] of [
    [["MEMIF", "KERNEL"], "MEMIF"],
    [["KERNEL"], "KERNEL"],
    [[], "KERNEL"],
  ] as const) {
    const mesh = await createMesh(t, { priority, none: true });
    await mesh.request("a", "local");
    assert.equal(mesh.endpoint.asked.at(-1)?.[0]?.type, first);
    assert.ok(
      mesh.endpoint.asked.at(-1)?.every(({ cls }) => cls === "LOCAL"),
      "only what reaches this node is proposed",
    );
  }
});

test("a refresh keeps mechanism and VNI, sends no proposals, and changes what the context says", async (t) => {
  const mesh = await createMesh(t);
  const first = await mesh.request("a", "remote");
  const vni = (await mesh.b.plane.usedVnis(4789)).values().next().value;
  mesh.endpoint.context = { ip_context: { ...ip(), src_ip_addrs: ["172.16.1.103/32"] }, MTU: 1300 };
  const second = await mesh.request("a", "remote", { connection: first });
  assert.deepEqual(mesh.endpoint.asked.at(-1), []);
  assert.equal(second.id, first.id);
  assert.equal((await mesh.b.plane.usedVnis(4789)).values().next().value, vni);
  const [near] = mesh.a.plane.built.values();
  assert.ok(near?.client.kind === "kernel");
  assert.deepEqual(near.client.addresses, ["172.16.1.103/32"]);
  assert.equal(near.mtuBytes, 1300);
  assert.equal(near.generation, 2);
});

test("a VNI that is taken on the asking node is given back and negotiated anew", async (t) => {
  const mesh = await createMesh(t, { random: [givesVni2, 0.5] });
  mesh.a.plane.foreignVnis.add(2);
  mesh.a.plane.refuse = ({ endpoint }) => {
    if (endpoint.kind === "vxlan" && endpoint.vni === 2) throw statusError(Code.ALREADY_EXISTS, "create vxlan vni=2: EEXIST");
  };
  const answer = await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  const [far] = mesh.b.plane.built.values();
  assert.ok(near?.endpoint.kind === "vxlan" && far?.client.kind === "vxlan");
  assert.notEqual(near.endpoint.vni, 2);
  assert.equal(near.endpoint.vni, far.client.vni);
  assert.equal(mesh.endpoint.closes, 1, "the first try was closed");
  await mesh.close("a", answer);
  assert.equal(mesh.b.plane.built.size, 0);
});

test("a VNI that is taken on the answering node is replaced there", async (t) => {
  const mesh = await createMesh(t, { random: [givesVni2, 0.5] });
  mesh.b.plane.refuse = ({ client }) => {
    if (client.kind === "vxlan" && client.vni === 2) {
      mesh.b.plane.foreignVnis.add(2);
      throw statusError(Code.ALREADY_EXISTS, "create vxlan vni=2: EEXIST");
    }
  };
  await mesh.request("a", "remote");
  const [near] = mesh.a.plane.built.values();
  assert.ok(near?.endpoint.kind === "vxlan" && near.endpoint.vni !== 2);
  assert.deepEqual([...mesh.b.plane.foreignVnis], [2], "the collision has happened");
});

test("two connections of one node never get one VNI, even when chance repeats itself", async (t) => {
  const mesh = await createMesh(t, { random: [0] });
  const vnis = new Set<number>();
  for (let i = 0; i < 5; i++) {
    await mesh.request("a", "remote", { id: `client-${i}` });
  }
  for (const { endpoint } of mesh.a.plane.built.values()) if (endpoint.kind === "vxlan") vnis.add(endpoint.vni);
  assert.equal(vnis.size, 5);
});

test("a VNI that another connection of this node has is negotiated away, and the first one keeps it", async (t) => {
  const mesh = await createMesh(t, { random: [givesVni2, givesVni2, 0.5] });
  const first = await mesh.request("a", "remote", { id: "client-1" });
  // The far side forgets what it has given, as another node would not know of it.
  mesh.b.vnis.release([...mesh.b.plane.built.keys()][0] ?? "");
  const second = await mesh.request("a", "remote", { id: "client-2" });
  const vnis = () => [...mesh.a.plane.built.values()].map(({ endpoint }) => endpoint.kind === "vxlan" && endpoint.vni);
  assert.deepEqual(vnis(), [2, 2 ** 23]);
  await mesh.request("a", "remote", { connection: second });
  mesh.b.vnis.release([...mesh.b.plane.built.keys()][1] ?? "");
  await mesh.request("a", "remote", { connection: first });
  assert.deepEqual(vnis(), [2, 2 ** 23]);
});

test("payload IP between nodes is refused with the reason, and works on one node", async (t) => {
  const mesh = await createMesh(t);
  await mesh.request("a", "local", { payload: "IP" });
  await assert.rejects(mesh.request("a", "remote", { payload: "IP", id: "client-2" }), {
    code: Code.FAILED_PRECONDITION,
    details: /payload IP needs WIREGUARD between nodes/,
  });
  assert.equal(mesh.b.plane.built.size, 0);
});

test("what fails first leaves nothing, what fails on refresh keeps what was", async (t) => {
  const mesh = await createMesh(t);
  mesh.a.plane.refuse = () => {
    throw statusError(Code.NOT_FOUND, "namespace has gone");
  };
  await assert.rejects(mesh.request("a", "remote"), { code: Code.NOT_FOUND });
  assert.equal(mesh.b.plane.built.size, 0, "the far side was closed");
  assert.deepEqual([...mesh.endpoint.open], []);
  mesh.a.plane.refuse = () => {};
  const answer = await mesh.request("a", "remote");
  mesh.a.plane.refuse = () => {
    throw statusError(Code.UNAVAILABLE, "out of luck");
  };
  await assert.rejects(mesh.request("a", "remote", { connection: answer }), { code: Code.UNAVAILABLE });
  assert.equal(mesh.a.plane.built.size, 1);
  assert.equal(mesh.b.plane.built.size, 1);
});

test("a connection that moves to another endpoint is closed where it was", async (t) => {
  const mesh = await createMesh(t);
  const first = await mesh.request("a", "remote");
  assert.equal(mesh.b.plane.built.size, 1);
  const second = await mesh.request("a", "local", { connection: { ...first, network_service_endpoint_name: "nse-local" } });
  assert.equal(mesh.b.plane.built.size, 0);
  assert.deepEqual([...mesh.endpoint.open], ["nse-local"]);
  assert.equal(second.network_service_endpoint_name, "nse-local");
});

test("the first preference that works wins; none is refused with the reason for each", async (t) => {
  const mesh = await createMesh(t);
  const memif: Mechanism = { cls: "LOCAL", type: "MEMIF", parameters: {} };
  const answer = await mesh.request("a", "local", { preferences: [memif, kernel()] });
  assert.equal(answer.mechanism?.type, "KERNEL");
  const bad = withParameters(kernel(), { inodeURL: undefined });
  await assert.rejects(mesh.request("a", "local", { id: "client-2", preferences: [memif, bad] }), {
    code: Code.FAILED_PRECONDITION,
    details: /MEMIF is not available here.*inodeURL/,
  });
  await assert.rejects(mesh.request("a", "local", { id: "client-3", preferences: [] }), { code: Code.INVALID_ARGUMENT });
  await assert.rejects(mesh.request("a", "local", { id: "client-4", preferences: [bad] }), { code: Code.INVALID_ARGUMENT });
});

test("NOOP is joined to NOOP only", async (t) => {
  const mesh = await createMesh(t);
  const answer = await mesh.request("a", "local", { preferences: [noopMechanism("LOCAL")] });
  assert.equal(answer.mechanism?.type, "NOOP");
  assert.deepEqual(
    mesh.endpoint.asked.at(-1)?.map(({ type }) => type),
    ["NOOP"],
  );
});

test("row 1.25: a client that names no interface gets a valid name, the same on refresh", async (t) => {
  const mesh = await createMesh(t);
  const answer = await mesh.request("a", "local", { preferences: [withParameters(kernel(), { name: undefined })] });
  const name = answer.mechanism?.parameters["name"] ?? "";
  assert.match(name, /^icmp-respo-[0-9A-Za-z]{4}$/);
  const again = await mesh.request("a", "local", { connection: answer });
  assert.equal(again.mechanism?.parameters["name"], name);
});

test("row 10.2: counters and interfaces stand in the forwarder's path segment", async (t) => {
  const mesh = await createMesh(t);
  mesh.a.plane.counted = { rxBytes: 1n, txBytes: 2n, rxPackets: 3n, txPackets: 4n, drops: 5n };
  const answer = await mesh.request("a", "local");
  const metrics = answer.path?.path_segments[1]?.metrics;
  assert.equal(metrics?.["server_interface"], "KERNEL/nsm-1");
  assert.equal(metrics?.["client_interface"], "KERNEL/nse-if");
  assert.deepEqual(
    ["server_rx_bytes", "server_tx_bytes", "client_rx_packets", "client_tx_packets", "server_drops"].map((key) => metrics?.[key]),
    ["2", "1", "3", "4", "5"],
  );
});

test("an endpoint that is not registered is NOT_FOUND; an answer that makes no sense is FAILED_PRECONDITION", async (t) => {
  const mesh = await createMesh(t);
  await assert.rejects(mesh.request("a", "nobody"), { code: Code.NOT_FOUND, details: /nse-nobody.*not registered/ });
  mesh.endpoint.mechanism = { cls: "LOCAL", type: "SRV6", parameters: {} };
  await assert.rejects(mesh.request("a", "local"), { code: Code.FAILED_PRECONDITION, details: /SRV6/ });
  mesh.endpoint.mechanism = { cls: "LOCAL", type: "KERNEL", parameters: {} };
  await assert.rejects(mesh.request("a", "local"), { code: Code.FAILED_PRECONDITION, details: /nse-local.*inodeURL/ });
  assert.equal(mesh.a.plane.built.size, 0);
});

test("an endpoint that is registered at another place now is found there after the known one has failed", async (t) => {
  const mesh = await createMesh(t, { urls: { "nse-local": "inode://1/2", "nse-moved": "unix:///gone" } });
  await assert.rejects(mesh.request("a", "local"), { code: Code.UNAVAILABLE });
  mesh.freshUrls["nse-local"] = "unix:///nse";
  mesh.freshUrls["nse-moved"] = "tcp://198.18.0.2:5001";
  await mesh.request("a", "local");
  await mesh.request("a", "moved", { id: "client-2" });
  assert.equal(mesh.a.plane.built.size, 2);
  assert.equal(mesh.b.plane.built.size, 1, "the second one is on the other node now");
});
