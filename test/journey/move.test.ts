/** Connections that move: a service edited, an endpoint gone, a manager or forwarder stopped, while the client stays. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClientConnection, type ConnectOptions, connect } from "../../sdk/client/connect.js";
import { type ConnectionEvent, ConnectionEventType, MonitorScopeSelector, State } from "../../sdk/gen/connection.js";
import { Code } from "../../sdk/status.js";
import { type Mesh, names, startMesh } from "./mesh.js";
import { testShapes } from "./shapes.js";
import { until } from "./until.js";

const to = (colour: string) => [{ routes: [{ destination_selector: { colour } }] }];

test("row 2.11: the match is edited to green and back; the client moves without a restart, to the other address range", async (t) => {
  const mesh = await startMesh(t);
  const { blue, green } = await blueAndGreen(mesh);
  await mesh.registerService({ name: "service", payload: "ETHERNET", matches: to("blue") });
  const connection = await client(mesh, { url: "kernel://service/nsm-1" });
  assert.match(address(connection), /^172\.16\.1\./);
  await mesh.registerService({ name: "service", payload: "ETHERNET", matches: to("green") });
  await until("the client is at green", () => /^172\.16\.2\./.test(address(connection)));
  await until("blue has its address back", () => blue.connections.length === 0);
  assert.equal(green.connections.length, 1);
  await mesh.registerService({ name: "service", payload: "ETHERNET", matches: to("blue") });
  await until("the client is at blue again", () => /^172\.16\.1\./.test(address(connection)));
  await until("green has its address back", () => green.connections.length === 0);
});

test("row 2.11: the endpoint on the other node moves to one on this node", async (t) => {
  const mesh = await startMesh(t, { nodes: ["n1", "n2"] });
  await mesh.node("n2").serve({ name: "blue", labels: { colour: "blue" }, cidrs: ["172.16.1.0/24"] });
  await mesh.node("n1").serve({ name: "green", labels: { colour: "green" }, cidrs: ["172.16.2.0/24"] });
  await mesh.registerService({ name: "service", payload: "ETHERNET", matches: to("blue") });
  const connection = await client(mesh, { url: "kernel://service/nsm-1" });
  assert.equal(names(connection.connection).length, 6);
  await mesh.registerService({ name: "service", payload: "ETHERNET", matches: to("green") });
  await until("the client is at green", () => names(connection.connection).at(-1) === "green");
  assert.equal(names(connection.connection).length, 4);
  await until("node 2 has let it go", async () => (await mesh.node("n2").connections()).length === 0);
});

test("row 2.11: a client without healing is told RESELECT_REQUESTED, then DELETE; asking on as before is refused", async (t) => {
  const mesh = await startMesh(t);
  await blueAndGreen(mesh);
  await mesh.registerService({ name: "service", payload: "ETHERNET", matches: to("blue") });
  const before = await mesh.request("n1", { service: "service", id: "c1" });
  const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ id: "c1" }] });
  const stream = mesh.dialer.monitor(mesh.node("n1").url, selector, mesh.signal)[Symbol.asyncIterator]();
  await stream.next();
  await mesh.registerService({ name: "service", payload: "ETHERNET", matches: to("green") });
  const told: string[] = [];
  while (told.at(-1) !== "DELETE") {
    const event = (await stream.next()).value as ConnectionEvent;
    const [connection] = Object.values(event.connections);
    const reselect = connection?.state === State.RESELECT_REQUESTED;
    told.push(event.type === ConnectionEventType.DELETE ? "DELETE" : reselect ? "RESELECT_REQUESTED" : "other");
  }
  assert.deepEqual(
    told.filter((what) => what !== "other"),
    ["RESELECT_REQUESTED", "DELETE"],
  );
  const after = await mesh.request("n1", { service: "service", id: "c1" });
  assert.equal(after.network_service_endpoint_name, "green");
  assert.equal(before.network_service_endpoint_name, "blue");
});

test("row 7.3: an endpoint dies; its clients find the other one", async (t) => {
  const mesh = await startMesh(t);
  const { blue, green } = await blueAndGreen(mesh);
  const connection = await client(mesh, { url: "kernel://service/nsm-1" });
  const atBlue = names(connection.connection).at(-1) === "blue";
  await (atBlue ? blue : green).close();
  await until("the client is at the other one", () => names(connection.connection).at(-1) === (atBlue ? "green" : "blue"));
});

testShapes(
  "row 7.2: the manager is stopped and started; ids, endpoint and address stay, and nothing is built anew",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
    const endpoint = await mesh.node("n2").serve({ name: "nse-1" });
    const connection = await client(mesh, { url: "kernel://service/nsm-1" });
    const before = connection.connection;
    for (const node of ["n1", "n2"]) {
      await mesh.node(node).nsmgr.stop();
      await mesh.node(node).nsmgr.start();
      await until(`${node} knows the connection again`, async () => (await mesh.node(node).connections()).length === 1);
    }
    await until("the connection is up in the client's eyes", () => connection.connection.state === State.UP);
    assert.deepEqual(ids(connection), ids({ connection: before }));
    assert.deepEqual(connection.connection.context?.ip_context?.src_ip_addrs, before.context?.ip_context?.src_ip_addrs);
    assert.equal(endpoint.connections.length, 1);
  },
);

testShapes("row 7.2: ten restarts in a row, of manager and registry, and the connection is up after each", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  // nobody can see packets here: the same one is asked for as long as all restarts together may take
  const connection = await client(mesh, { url: "kernel://service/nsm-1", patienceMs: 60_000 });
  const before = ids(connection);
  for (let turn = 0; turn < 10; turn++) {
    const part = turn % 3 === 2 ? mesh.registry : node.nsmgr;
    await part.stop();
    await part.start();
    // well below the 40 s in which an entry is refreshed anyway
    await until("it is up again", async () => (await node.connections())[0]?.state === State.UP, 20_000);
  }
  assert.deepEqual(ids(connection), before);
  assert.equal(endpoint.connections.length, 1);
});

test("row 7.1: the forwarder is stopped and started; the connection goes on through it", async (t) => {
  const mesh = await startMesh(t);
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  const connection = await client(mesh, { url: "kernel://service/nsm-1" });
  const before = ids(connection);
  await node.forwarders.get("forwarder-n1")?.stop();
  await until("the manager sees it down", async () => (await node.connections())[0]?.state !== State.UP);
  await node.forwarders.get("forwarder-n1")?.start();
  await until("it is up again", async () => (await node.connections())[0]?.state === State.UP);
  assert.deepEqual(ids(connection), before);
  assert.equal(endpoint.connections.length, 1);
});

testShapes(
  "row 7.4: the registry is away and back: refreshes go on, new requests of known services too, then everything",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape });
    const node = mesh.node("n1");
    await node.serve({ name: "nse-1" });
    const first = await mesh.request("n1", { service: "service" });
    await mesh.registry.stop();
    assert.deepEqual(names(await mesh.refresh("n1", first)), names(first));
    await assert.rejects(
      mesh.request("n1", { service: "never-heard-of", deadlineMs: Date.now() + 5_000 }),
      (error: { code: Code }) => ([Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED] as Code[]).includes(error.code),
    );
    await mesh.registry.start();
    await until("endpoint and forwarder have registered again", async () => {
      const found = mesh.request("n1", { service: "service", deadlineMs: Date.now() + 2_000 });
      return found.then(
        () => true,
        () => false,
      );
    });
    await mesh.node("n1").serve({ name: "nse-2", services: ["second"] });
    await mesh.request("n1", { service: "second" });
  },
);

test("row 7.4: registry and endpoint die together; the client finds the other endpoint without waiting for the registry", async (t) => {
  const mesh = await startMesh(t);
  const { blue, green } = await blueAndGreen(mesh);
  const connection = await client(mesh, { url: "kernel://service/nsm-1" });
  const atBlue = names(connection.connection).at(-1) === "blue";
  await mesh.registry.stop();
  await (atBlue ? blue : green).close();
  await until("the client is at the other one", () => names(connection.connection).at(-1) === (atBlue ? "green" : "blue"));
  const another = await mesh.request("n1", { service: "service" });
  assert.equal(another.network_service_endpoint_name, atBlue ? "green" : "blue");
});

async function blueAndGreen(mesh: Mesh) {
  const node = mesh.node("n1");
  const blue = await node.serve({ name: "blue", labels: { colour: "blue" }, cidrs: ["172.16.1.0/24"] });
  const green = await node.serve({ name: "green", labels: { colour: "green" }, cidrs: ["172.16.2.0/24"] });
  return { blue, green };
}

async function client(mesh: Mesh, options: Omit<ConnectOptions, "signal">): Promise<ClientConnection> {
  const stop = new AbortController();
  const { signal } = stop;
  const connection = await connect({ nsmgr: mesh.node("n1").url, dialer: mesh.dialer, liveness: false, signal, ...options });
  mesh.atEnd(async () => {
    await connection.close();
    stop.abort();
  });
  return connection;
}

function address({ context }: ClientConnection): string {
  return context.ip_context?.src_ip_addrs[0] ?? "";
}

function ids({ connection }: Pick<ClientConnection, "connection">): string[] {
  return connection.path?.path_segments.map(({ id }) => id) ?? [];
}
