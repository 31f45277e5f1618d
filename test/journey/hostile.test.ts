/** Requests no honest client sends: each gets a status to act on, and the mesh goes on as if nothing had been. */
import assert from "node:assert/strict";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import type { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code, codeName, type StatusError, toStatusError } from "../../sdk/status.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { startMesh } from "./mesh.js";
import { testShapes } from "./shapes.js";
import { until } from "./until.js";

type Partial = Parameters<typeof NetworkServiceRequest.fromPartial>[0];

const soon = (): ReturnType<typeof timestampOf> => timestampOf(Date.now() + 60_000);
const self = { name: "client", id: "c", expires: soon() };
const good = { id: "c", network_service: "service", path: { index: 0, path_segments: [self] } };
const kernel = (parameters: Record<string, string>): Partial => ({
  connection: good,
  mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters }],
});

const refusals: { why: string; request: Partial; codes: Code[]; says: RegExp }[] = [
  { why: "no connection", request: {}, codes: [Code.INVALID_ARGUMENT], says: /connection/ },
  {
    why: "no service",
    request: { connection: { ...good, network_service: "" } },
    codes: [Code.INVALID_ARGUMENT],
    says: /service/,
  },
  {
    why: "no path",
    request: { connection: { id: "c", network_service: "service" } },
    codes: [Code.INVALID_ARGUMENT],
    says: /expire/,
  },
  {
    why: "a first segment without expiry",
    request: { connection: { ...good, path: { index: 0, path_segments: [{ name: "client", id: "c" }] } } },
    codes: [Code.INVALID_ARGUMENT],
    says: /expires/,
  },
  {
    why: "an expired segment",
    request: { connection: { ...good, path: { index: 0, path_segments: [{ ...self, expires: timestampOf(1e12) }] } } },
    codes: [Code.INVALID_ARGUMENT],
    says: /expired/,
  },
  {
    why: "an id that is not the segment's",
    request: { connection: { ...good, id: "other" } },
    codes: [Code.INVALID_ARGUMENT],
    says: /id/,
  },
  {
    why: "an index beyond the path",
    request: { connection: { ...good, path: { index: 7, path_segments: [self] } } },
    codes: [Code.INVALID_ARGUMENT],
    says: /index/,
  },
  {
    why: "a path of 200 segments",
    request: { connection: { ...good, path: { index: 0, path_segments: Array.from({ length: 200 }, () => self) } } },
    codes: [Code.INVALID_ARGUMENT],
    says: /loop/,
  },
  { why: "an unknown service", request: { connection: { ...good, network_service: "x" } }, codes: [Code.NOT_FOUND], says: /"x"/ },
  {
    why: "an unknown endpoint",
    request: { connection: { ...good, network_service_endpoint_name: "nobody" } },
    codes: [Code.NOT_FOUND],
    says: /nobody/,
  },
  {
    why: "an unknown payload",
    request: { connection: { ...good, payload: "CARRIER-PIGEON" } },
    codes: [Code.NOT_FOUND],
    says: /PIGEON/,
  },
  {
    why: "a megabyte of labels",
    request: { connection: { ...good, labels: { a: "x".repeat(1_000_000) } } },
    codes: [Code.INVALID_ARGUMENT],
    says: /labels/,
  },
  {
    why: "a message over the limit",
    request: { connection: { ...good, labels: { a: "x".repeat(5_000_000) } } },
    codes: [Code.RESOURCE_EXHAUSTED],
    says: /larger/i,
  },
  {
    why: "a namespace that has vanished",
    request: kernel({ inodeURL: "inode://4/1" }),
    codes: [Code.NOT_FOUND],
    says: /inode:\/\/4\/1/,
  },
  { why: "a malformed namespace", request: kernel({ inodeURL: "gopher://x" }), codes: [Code.INVALID_ARGUMENT], says: /gopher/ },
  {
    why: "an interface name with a slash",
    request: kernel({ inodeURL: "file:///proc/self/ns/net", name: "../../x" }),
    codes: [Code.INVALID_ARGUMENT],
    says: /name/,
  },
  {
    why: "a mechanism nobody knows",
    request: { connection: good, mechanism_preferences: [{ cls: "LOCAL", type: "CARRIER-PIGEON" }] },
    codes: [Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT],
    says: /CARRIER-PIGEON/,
  },
];

testShapes(
  "each bad request gets a code to act on and a text that names what is wrong; nothing stays behind",
  async (t, shape) => {
    const mesh = await startMesh(t, { shape });
    const node = mesh.node("n1");
    const endpoint = await node.serve({ name: "nse-1" });
    const client = mesh.dialer.connections(node.url);
    for (const { why, request, codes, says } of refusals) {
      await t.test(why, async () => {
        const asked = client.request(NetworkServiceRequest.fromPartial(request), {
          signal: mesh.signal,
          deadlineMs: Date.now() + 5_000,
        });
        const error = await failure(asked);
        assert.ok(codes.includes(error.code), `${codeName(error.code)}: ${error.details}`);
        assert.match(error.details, says);
      });
    }
    assert.deepEqual(await node.connections(), []);
    assert.equal(endpoint.connections.length, 0);
    await mesh.request("n1", { service: "service" });
  },
);

testShapes("a loop: an endpoint whose URL leads back to the manager, on one node and over two", async (t, shape) => {
  const mesh = await startMesh(t, { shape, nodes: ["n1", "n2"] });
  const trap = async (node: string, name: string, url: string): Promise<void> => {
    const entry = NetworkServiceEndpoint.fromPartial({ name, network_service_names: ["service"], url });
    await mesh.dialer.endpointRegistry(mesh.node(node).url).register(entry, { signal: mesh.signal });
  };
  await mesh.registerService({ name: "service", payload: "ETHERNET" });
  await trap("n1", "a-trap", mesh.node("n1").url);
  await trap("n2", "b-trap", mesh.node("n1").url);
  for (const node of ["n1", "n2"]) {
    await assert.rejects(mesh.request(node, { service: "service", endpoint: "a-trap" }), {
      code: Code.FAILED_PRECONDITION,
      details: /loop/,
    });
    await assert.rejects(mesh.request(node, { service: "service", endpoint: "b-trap" }), {
      code: Code.FAILED_PRECONDITION,
      details: /loop/,
    });
  }
  // a third one that is none is found behind the two
  await mesh.node("n1").serve({ name: "c-good" });
  for (let turn = 0; turn < 3; turn++) {
    assert.equal((await mesh.request("n1", { service: "service" })).network_service_endpoint_name, "c-good");
  }
  for (const node of ["n2"]) assert.deepEqual(await mesh.node(node).connections(), []);
});

testShapes("an endpoint that never answers costs its share of the time, and the next one is asked", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const held: Socket[] = [];
  const silent = createServer((socket) => void held.push(socket));
  await new Promise<void>((resolve) => silent.listen(`${mesh.folder}/silent.sock`, resolve));
  mesh.atEnd(() => {
    for (const socket of held) socket.destroy();
    silent.close();
  });
  const entry = { name: "a-silent", network_service_names: ["service"], url: `unix://${mesh.folder}/silent.sock` };
  await mesh.dialer
    .endpointRegistry(mesh.node("n1").url)
    .register(NetworkServiceEndpoint.fromPartial(entry), { signal: mesh.signal });
  await mesh.node("n1").serve({ name: "b-good" });
  for (let turn = 0; turn < 2; turn++) {
    const connection = await mesh.request("n1", { service: "service", deadlineMs: Date.now() + 10_000 });
    assert.equal(connection.network_service_endpoint_name, "b-good");
  }
});

testShapes("a caller that leaves before the answer leaves nothing behind", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const endpoint = await mesh.node("n1").serve({ name: "nse-1" });
  const asked = Array.from({ length: 30 }, async (_, index) => {
    const leave = new AbortController();
    setTimeout(() => leave.abort(), index * 4);
    return mesh.request("n1", { service: "service", signal: leave.signal }).catch(() => undefined);
  });
  const answered = (await Promise.all(asked)).filter((connection): connection is Connection => connection !== undefined);
  // an answer may cross the withdrawal of its request: what it told of is closed when the withdrawal comes
  const live = async (): Promise<number> => (await mesh.node("n1").connections()).length;
  await until("only what was answered is there", async () => (await live()) === answered.length);
  await until("at the endpoint too", () => endpoint.connections.length === answered.length);
  for (const connection of answered) await mesh.close("n1", connection);
  assert.equal(endpoint.connections.length, 0);
});

testShapes("bytes that are no HTTP/2, and a socket that says nothing, harm nobody", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  await mesh.node("n1").serve({ name: "nse-1" });
  const path = mesh.node("n1").url.slice("unix://".length);
  const sockets = Array.from({ length: 20 }, (_, index) => {
    const socket = connectSocket({ path });
    socket.on("error", () => {});
    if (index % 2 === 0) socket.write(Buffer.alloc(4096, index));
    return socket;
  });
  await mesh.request("n1", { service: "service" });
  for (const socket of sockets) socket.destroy();
});

testShapes("the registry behind the manager refuses nonsense with a reason", async (t, shape) => {
  const mesh = await startMesh(t, { shape });
  const call = { signal: mesh.signal };
  const services = mesh.dialer.serviceRegistry(mesh.node("n1").url);
  const endpoints = mesh.dialer.endpointRegistry(mesh.node("n1").url);
  await assert.rejects(services.register(NetworkService.fromPartial({}), call), { code: Code.INVALID_ARGUMENT });
  await assert.rejects(endpoints.register(NetworkServiceEndpoint.fromPartial({ name: "x" }), call), {
    code: Code.INVALID_ARGUMENT,
  });
  await assert.rejects(endpoints.register(NetworkServiceEndpoint.fromPartial({ url: "unix:///x" }), call), {
    code: Code.INVALID_ARGUMENT,
  });
  await endpoints.unregister(NetworkServiceEndpoint.fromPartial({ name: "never-seen" }), call);
  for (const path of ['{"Index":0,"PathSegments":null}', "null", "[]", '{"Index":-1}', "{", "x".repeat(10_000)]) {
    const entry = NetworkServiceEndpoint.fromPartial({ name: "p", network_service_names: ["s"], url: "unix:///p.sock" });
    const error = await endpoints.register(entry, { ...call, metadata: { path } }).then(
      () => undefined,
      (thrown: unknown) => toStatusError(thrown),
    );
    if (error !== undefined) assert.equal(error.code, Code.INVALID_ARGUMENT, `${path.slice(0, 40)}: ${error.details}`);
  }
});

async function failure(asked: Promise<unknown>): Promise<StatusError> {
  try {
    await asked;
  } catch (thrown) {
    return toStatusError(thrown);
  }
  throw new Error("it was granted");
}
