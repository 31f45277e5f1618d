/** Who provides the service, and who carries it: matches, templates, turns, candidates, forwarders. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code } from "../../sdk/status.js";
import { type Mesh, names, startMesh } from "./mesh.js";
import { testShapes } from "./shapes.js";
import { until } from "./until.js";

testShapes("row 2.1: matches are tried in order, and the next one only where it is marked", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  await colours(mesh, "blue", "green");
  const blueFor = (tenant: string, fallthrough: boolean) => ({
    source_selector: { tenant },
    routes: [{ destination_selector: { colour: "none" } }],
    fallthrough,
  });
  await edit(mesh, [blueFor("a", true), blueFor("b", false), { routes: [{ destination_selector: { colour: "green" } }] }]);
  assert.equal((await ask(mesh, { tenant: "a" })).network_service_endpoint_name, "green");
  await assert.rejects(ask(mesh, { tenant: "b" }), { code: Code.NOT_FOUND });
  assert.equal((await ask(mesh, {})).network_service_endpoint_name, "green");
});

testShapes("row 2.2: a template takes the endpoint of the client's own node", async (t, shape) => {
  const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
  for (const node of ["n1", "n2"]) await mesh.node(node).serve({ name: `nse-${node}`, registerService: false });
  await edit(mesh, [{ routes: [{ destination_selector: { nodeName: "{{.nodeName}}" } }] }]);
  for (const node of ["n1", "n2", "n1", "n2"]) {
    const connection = await mesh.request(node, { service: "service" });
    assert.equal(connection.network_service_endpoint_name, `nse-${node}`);
    assert.equal(names(connection).length, 4);
  }
});

testShapes("row 2.3: requests go round among the endpoints", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  await colours(mesh, "blue", "green", "red");
  const counts = new Map<string, number>();
  for (let turn = 0; turn < 12; turn++) {
    const { network_service_endpoint_name: name } = await ask(mesh, {});
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  assert.deepEqual([...counts.values()], [4, 4, 4]);
});

testShapes("row 2.4: an endpoint that is registered and dead costs a try, not the request", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  await colours(mesh, "green");
  const dead = { name: "dead", network_service_names: ["service"], url: `unix://${mesh.folder}/dead.sock` };
  await mesh.dialer
    .endpointRegistry(mesh.node("n1").url)
    .register(NetworkServiceEndpoint.fromPartial(dead), { signal: mesh.signal });
  for (let turn = 0; turn < 4; turn++) assert.equal((await ask(mesh, {})).network_service_endpoint_name, "green");
  const { decisions } = await mesh.dialer.inspect(mesh.node("n1").url).explain({ connection_id: "" }, { signal: mesh.signal });
  const failed = decisions.filter(({ candidate, verdict }) => candidate === "dead" && verdict === "FAILED");
  assert.ok(failed.length > 0);
  assert.match(failed[0]?.rule ?? "", /dead\.sock/);
});

testShapes("row 2.4: a dead node is passed over as well", async (t, shape) => {
  const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
  await mesh.node("n1").serve({ name: "near" });
  await mesh.node("n2").serve({ name: "far" });
  await mesh.node("n2").nsmgr.stop();
  for (let turn = 0; turn < 3; turn++) assert.equal((await ask(mesh, {})).network_service_endpoint_name, "near");
});

testShapes("row 2.5: the service's labels choose the forwarder, and the path shows it", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const node = mesh.node("n1");
  await node.addForwarder("fast", "p2p:true,sriov:yes");
  await node.serve({ name: "nse-1", registerService: false });
  await edit(mesh, [{ metadata: { labels: { sriov: "yes" } } }]);
  for (let turn = 0; turn < 3; turn++) assert.deepEqual(names(await ask(mesh, {})), ["client", "nsmgr-n1", "fast", "nse-1"]);
  await edit(mesh, [{ metadata: { labels: { gpu: "yes" } } }]);
  await until("the edit has reached the manager", () =>
    ask(mesh, {}).then(
      () => false,
      () => true,
    ),
  );
  await assert.rejects(ask(mesh, {}), { code: Code.UNAVAILABLE, details: /\{gpu=yes\}; registered here: forwarder-n1, fast/ });
});

testShapes("row 2.7: a service that needs P2MP goes to the forwarder that offers it", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const node = mesh.node("n1");
  await node.addForwarder("bridge", "p2mp:true");
  await node.serve({ name: "nse-1", registerService: false });
  await edit(mesh, [{ source_selector: { kind: "p2mp" }, metadata: { labels: { p2mp: "true" } } }, { metadata: {} }]);
  assert.ok(names(await ask(mesh, { kind: "p2mp" })).includes("bridge"));
  assert.ok(names(await ask(mesh, {})).includes("forwarder-n1"));
});

// apart only: in one process a forwarder is not down without its manager
test("row 2.6: a forwarder that is down is passed over; a connection stays with the one that took it", async (t) => {
  const mesh = await startMesh(t);
  const node = mesh.node("n1");
  await node.addForwarder("second");
  await node.serve({ name: "nse-1" });
  const before = await ask(mesh, {});
  assert.ok(names(before).includes("forwarder-n1"));
  await node.forwarders.get("forwarder-n1")?.stop();
  const after = await ask(mesh, {});
  assert.ok(names(after).includes("second"));
  await node.forwarders.get("forwarder-n1")?.start();
  assert.deepEqual(names(await mesh.refresh("n1", after)), names(after));
});

testShapes(
  "row 4.4: the manager's excluded prefixes are avoided by the endpoint, and an edit of the file is followed",
  async (t) => {
    const mesh = await startMesh(t);
    const node = mesh.node("n1");
    await node.serve({ name: "nse-1", cidrs: ["172.16.0.0/24"] });
    const file = join(mesh.folder, "n1-excluded.yaml");
    await writeFile(file, "Prefixes: [172.16.0.0/26]");
    const inForce = async (): Promise<string> => {
      const { facts } = await mesh.dialer.inspect(node.url).getReport({ section: "excluded-prefixes" }, { signal: mesh.signal });
      return facts.map(({ name }) => name).join();
    };
    await until("the file is in force", async () => (await inForce()) === "172.16.0.0/26");
    assert.ok(lastByte(await ask(mesh, {})) >= 64);
    await writeFile(file, "no list at all");
    await until("the refusal is logged", () => node.nsmgr.output.includes("the last good list stays"));
    assert.ok(lastByte(await ask(mesh, {})) >= 64);
    await writeFile(file, "prefixes: [172.16.0.0/25]");
    await until("the edit is in force", async () => (await inForce()) === "172.16.0.0/25");
    assert.ok(lastByte(await ask(mesh, {})) >= 128);
  },
);

testShapes("row 4.5: what a client already has elsewhere is avoided for that client only", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  await mesh.node("n1").serve({ name: "nse-1" });
  await mesh.node("n1").serve({ name: "nse-2", services: ["other"] });
  const first = await mesh.request("n1", { service: "service" });
  const taken = first.context?.ip_context?.src_ip_addrs ?? [];
  const excludedPrefixes = [...taken, ...(first.context?.ip_context?.dst_ip_addrs ?? [])];
  const second = await mesh.request("n1", { service: "other", excludedPrefixes });
  const third = await mesh.request("n1", { service: "other" });
  assert.notDeepEqual(second.context?.ip_context?.src_ip_addrs, taken);
  assert.deepEqual(third.context?.ip_context?.src_ip_addrs, taken);
});

async function colours(mesh: Mesh, ...all: string[]): Promise<void> {
  for (const [index, colour] of all.entries()) {
    await mesh.node("n1").serve({ name: colour, labels: { colour }, cidrs: [`172.16.${index}.0/24`] });
  }
}

async function edit(mesh: Mesh, matches: NonNullable<Parameters<Mesh["registerService"]>[0]>["matches"]): Promise<void> {
  await mesh.registerService({ name: "service", payload: "ETHERNET", ...(matches === undefined ? {} : { matches }) });
}

function ask(mesh: Mesh, labels: Record<string, string>): Promise<Connection> {
  return mesh.request("n1", { service: "service", labels });
}

function lastByte(connection: Connection): number {
  const [address] = connection.context?.ip_context?.src_ip_addrs ?? [];
  return Number(address?.split("/")[0]?.split(".").at(-1));
}
