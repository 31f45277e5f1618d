/** kill -9 of single components, each a process of its own, while a client holds a connection. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ClientConnection, connect } from "../../sdk/client/connect.js";
import { State } from "../../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { type Mesh, type MeshNode, names, startMesh } from "./mesh.js";
import { until } from "./until.js";

test("kill -9 of one component after the other under a living connection", async (t) => {
  const mesh = await startMesh(t, { processes: true, store: "lmdb" });
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  const connection = await client(mesh);
  const before = connection.connection;
  const asBefore = async (): Promise<void> => {
    await until("the connection is up", async () => (await node.connections())[0]?.state === State.UP);
    assert.deepEqual(ids(connection.connection), ids(before));
    assert.deepEqual(connection.connection.context?.ip_context?.src_ip_addrs, before.context?.ip_context?.src_ip_addrs);
    assert.equal(endpoint.connections.length, 1);
    await usable(mesh);
  };
  await t.test("row 7.2: the manager: ids, address and endpoint stay", async () => {
    await node.nsmgr.kill();
    await node.nsmgr.start();
    await asBefore();
  });
  await t.test("row 7.1: the forwarder", async () => {
    const forwarder = node.forwarders.get("forwarder-n1");
    await forwarder?.kill();
    await until("the manager sees it down", async () => (await node.connections())[0]?.state === State.DOWN);
    await forwarder?.start();
    await asBefore();
  });
  await t.test("row 7.4: the registry: nothing goes down", async () => {
    await mesh.registry.kill();
    assert.equal((await node.connections())[0]?.state, State.UP);
    await mesh.registry.start();
    await asBefore();
  });
});

test("row 7.4: kill -9 of a registry that keeps nothing: everybody has registered again soon", async (t) => {
  const mesh = await startMesh(t, { processes: true, store: "memory" });
  await mesh.node("n1").serve({ name: "nse-1" });
  await usable(mesh);
  await mesh.registry.kill();
  await mesh.registry.start();
  await usable(mesh);
  const registered = async (): Promise<string[]> => {
    const found: string[] = [];
    const registry = mesh.dialer.endpointRegistry(mesh.registryUrl);
    const call = { watch: false, signal: mesh.signal };
    for await (const { entry } of registry.find(NetworkServiceEndpoint.fromPartial({}), call)) found.push(entry.name);
    return found.sort();
  };
  await until("forwarder and endpoint are registered", async () => (await registered()).join() === "forwarder-n1,nse-1");
});

test("rows 7.1, 7.2: kill -9 of a node in one process: ids, address and endpoint stay", async (t) => {
  const mesh = await startMesh(t, { processes: true, shape: "joined" });
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  const connection = await client(mesh);
  const before = connection.connection;
  await node.nsmgr.kill();
  await node.nsmgr.start();
  await until("the connection is up", async () => (await node.connections())[0]?.state === State.UP);
  assert.deepEqual(ids(connection.connection), ids(before));
  assert.deepEqual(connection.connection.context?.ip_context?.src_ip_addrs, before.context?.ip_context?.src_ip_addrs);
  assert.equal(endpoint.connections.length, 1);
  await usable(mesh);
  assert.equal(await node.nsmgr.stop(), 0);
});

test("row 7.2: kill -9 of the other node's manager: the connection comes back by itself", async (t) => {
  const mesh = await startMesh(t, { processes: true, nodes: ["n1", "n2"] });
  await mesh.node("n2").serve({ name: "nse-1" });
  const connection = await client(mesh);
  await mesh.node("n2").nsmgr.kill();
  await until("node 1 sees it down", async () => (await mesh.node("n1").connections())[0]?.state === State.DOWN);
  await mesh.node("n2").nsmgr.start();
  await until("node 2 knows it again", async () => (await mesh.node("n2").connections()).length === 1);
  await until("it is up on node 1", async () => (await mesh.node("n1").connections())[0]?.state === State.UP);
  assert.equal(names(connection.connection).length, 6);
});

test("row 7.2: a manager killed while requests are under way leaves nothing behind that does not expire", async (t) => {
  const mesh = await startMesh(t, { processes: true, env: { NSM_MAX_TOKEN_LIFETIME: "4s" } });
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  const asked = Array.from({ length: 20 }, () =>
    mesh.request("n1", { service: "service", lifetimeMs: 4_000, deadlineMs: Date.now() + 3_000 }).catch(() => undefined),
  );
  await until("some have arrived", () => endpoint.connections.length > 0);
  await node.nsmgr.kill();
  await Promise.all(asked);
  await node.nsmgr.start();
  await usable(mesh);
  await until("the endpoint has all its addresses back", () => endpoint.connections.length === 0);
});

test("SIGTERM: exit code 0, the socket is gone, and a second manager on a living socket ends with 1 and a remedy", async (t) => {
  const mesh = await startMesh(t, { processes: true });
  const node = mesh.node("n1");
  const second = await startSecond(mesh, node);
  assert.equal(second.code, 1);
  assert.match(second.output, /another process listens on unix:.*stop it or choose another path/);
  assert.equal(await node.nsmgr.stop(), 0);
});

/** A whole process again, on the socket of the node's own manager. */
async function startSecond(mesh: Mesh, node: MeshNode): Promise<{ code: number | null; output: string }> {
  const program = fileURLToPath(new URL("./run-component.ts", import.meta.url));
  const env = { NSM_NAME: "second", NSM_LISTEN_ON: node.url, NSM_REGISTRY_URL: mesh.registryUrl, WEFT_INSECURE: "true" };
  // its input stays open: the end of it would stop the process
  const child = spawn(process.execPath, ["--import", "tsx", program, "nsmgr"], { env, stdio: ["pipe", "ignore", "pipe"] });
  let output = "";
  child.stderr.on("data", (chunk) => (output += chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

async function client(mesh: Mesh): Promise<ClientConnection> {
  const stop = new AbortController();
  const { signal } = stop;
  const connection = await connect({
    url: "kernel://service/nsm-1",
    nsmgr: mesh.node("n1").url,
    dialer: mesh.dialer,
    liveness: false,
    signal,
  });
  mesh.atEnd(async () => {
    await connection.close();
    stop.abort();
  });
  return connection;
}

/** New requests are answered again. */
async function usable(mesh: Mesh): Promise<void> {
  await until("a new request is answered", async () => {
    const asked = mesh.request("n1", { service: "service", deadlineMs: Date.now() + 2_000 });
    return asked.then(
      (connection) => mesh.close("n1", connection).then(() => true),
      () => false,
    );
  });
}

function ids(connection: ClientConnection["connection"]): string[] {
  return connection.path?.path_segments.map(({ id }) => id) ?? [];
}
