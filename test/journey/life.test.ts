/** Starting in any order, stopping with work under way, health, many connections: the life of a manager. */
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import type { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code } from "../../sdk/status.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { type Mesh, names, startMesh, withLifetime } from "./mesh.js";
import { testShapes } from "./shapes.js";
import { until } from "./until.js";

test("row 10.8: health follows the forwarder and the registry", async (t) => {
  const mesh = await startMesh(t);
  const node = mesh.node("n1");
  const becomes = (part: string, status: ServingStatus): Promise<void> =>
    until(
      `${part || "the whole"} becomes ${status}`,
      async () => (await mesh.dialer.health(node.url, part, mesh.signal)) === status,
    );
  await becomes("", ServingStatus.SERVING);
  await node.forwarders.get("forwarder-n1")?.stop();
  await becomes("forwarder", ServingStatus.NOT_SERVING);
  await becomes("", ServingStatus.NOT_SERVING);
  await node.forwarders.get("forwarder-n1")?.start();
  await becomes("", ServingStatus.SERVING);
  await mesh.registry.stop();
  await becomes("registry", ServingStatus.NOT_SERVING);
  await mesh.registry.start();
  await becomes("", ServingStatus.SERVING);
});

test("row 7.4: a manager, forwarder and endpoint that start before the registry need no hand when it comes", async (t) => {
  const mesh = await startMesh(t);
  const node = mesh.node("n1");
  const forwarder = node.forwarders.get("forwarder-n1");
  for (const part of [forwarder, node.nsmgr, mesh.registry]) await part?.stop();
  await node.nsmgr.start();
  await forwarder?.start();
  const serving = node.serve({ name: "nse-1" });
  await assert.rejects(mesh.request("n1", { service: "service" }), { code: Code.UNAVAILABLE, details: /registry .* is away/ });
  await mesh.registry.start();
  await serving;
  await until("requests are answered", () => granted(mesh));
});

testShapes(
  "stopping with a call under way that hangs: the caller is told UNAVAILABLE, within the drain time",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape });
    const held = await silentEndpoint(mesh, "silent");
    const asked = mesh.request("n1", { service: "service", deadlineMs: Date.now() + 60_000 });
    const outcome = assert.rejects(asked, { code: Code.UNAVAILABLE });
    await until("the forwarder waits for the endpoint", () => held.length > 0);
    await mesh.node("n1").nsmgr.stop();
    await outcome;
  },
);

test("two managers of one name on two nodes are no loop", async (t) => {
  const mesh = await startMesh(t, { nodes: ["n1", "n2"], names: { n1: "nsmgr", n2: "nsmgr" } });
  await mesh.node("n2").serve({ name: "nse-1" });
  const connection = await mesh.request("n1", { service: "service" });
  assert.deepEqual(names(connection), ["client", "nsmgr", "forwarder-n1", "nsmgr", "forwarder-n2", "nse-1"]);
  await mesh.close("n1", await mesh.refresh("n1", connection));
  for (const node of ["n1", "n2"]) assert.deepEqual(await mesh.node(node).connections(), []);
});

testShapes(
  "row 1.30: 300 random requests, refreshes, closes and deaths leave nothing at any hop, over a handful of sockets",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
    const near = await mesh.node("n1").serve({ name: "near", cidrs: ["172.16.0.0/22"] });
    const far = await mesh.node("n2").serve({ name: "far", cidrs: ["172.17.0.0/22"] });
    await mesh.close("n1", await mesh.request("n1", { service: "service" }));
    const sockets = openSockets();
    const live: Connection[] = [];
    let abandoned = 0;
    await inBatches(300, 16, async (index) => {
      const choice = (index * 7919) % 10;
      const [known] = live.splice(choice % Math.max(1, live.length), 1);
      if (choice < 5 || known === undefined) live.push(await mesh.request("n1", { service: "service" }));
      else if (choice < 7) live.push(await mesh.refresh("n1", known));
      else if (choice < 9) await mesh.close("n1", known);
      else {
        abandoned++;
        await mesh.refresh("n1", withLifetime(known, 3_000));
      }
      if (known !== undefined && choice < 5) live.push(known);
    });
    assert.ok(live.length > 20 && abandoned > 10, `${live.length} live, ${abandoned} abandoned`);
    assert.ok(openSockets() - sockets < 16, `${openSockets() - sockets} more sockets than before`);
    await until("the abandoned ones are gone", async () => (await mesh.node("n1").connections()).length === live.length);
    await inBatches(live.length, 16, (index) => mesh.close("n1", live[index] as Connection));
    for (const node of ["n1", "n2"]) assert.deepEqual(await mesh.node(node).connections(), []);
    assert.deepEqual([near.connections.length, far.connections.length], [0, 0]);
  },
);

async function granted(mesh: Mesh): Promise<boolean> {
  return mesh.request("n1", { service: "service", deadlineMs: Date.now() + 2_000 }).then(
    () => true,
    () => false,
  );
}

/** An endpoint that accepts connections and says nothing. */
async function silentEndpoint(mesh: Mesh, name: string): Promise<readonly Socket[]> {
  const held: Socket[] = [];
  const server = createServer((socket) => void held.push(socket));
  const path = `${mesh.folder}/${name}.sock`;
  await new Promise<void>((resolve) => server.listen(path, resolve));
  mesh.atEnd(() => {
    for (const socket of held) socket.destroy();
    server.close();
  });
  await mesh.registerService({ name: "service", payload: "ETHERNET" });
  const entry = NetworkServiceEndpoint.fromPartial({ name, network_service_names: ["service"], url: `unix://${path}` });
  await mesh.dialer.endpointRegistry(mesh.node("n1").url).register(entry, { signal: mesh.signal });
  return held;
}

async function inBatches(count: number, width: number, run: (index: number) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < count; start += width) {
    await Promise.all(Array.from({ length: Math.min(width, count - start) }, (_, offset) => run(start + offset)));
  }
}

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => /Pipe|TCP/.test(kind)).length;
}
