import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import fc from "fast-check";
import { NetworkServiceEndpoint, NetworkServiceEndpointQuery } from "../sdk/gen/registry.js";
import { Code } from "../sdk/status.js";
import { maxEntryBytes, maxNameLength, maxUrlLength } from "./check-entry.js";
import { collect, endpoint, type Scope, service, testRegistry } from "./test-registry.js";

test("a query without a body means everything, in a watch too", async (t) => {
  const { url, endpoints, services, signal } = await testRegistry(t);
  await endpoints.register(endpoint("e"), { signal });
  await services.register(service("s"), { signal });
  const raw = rawClient(t, url);
  const empty = Buffer.from(NetworkServiceEndpointQuery.encode(NetworkServiceEndpointQuery.fromPartial({})).finish());
  assert.equal(empty.length, 0);
  assert.equal((await raw.stream("/registry.NetworkServiceEndpointRegistry/Find", empty)).length, 1);
  assert.equal((await raw.stream("/registry.NetworkServiceRegistry/Find", empty)).length, 1);
  const watch = Buffer.from(NetworkServiceEndpointQuery.encode({ watch: true }).finish());
  assert.equal((await raw.stream("/registry.NetworkServiceEndpointRegistry/Find", watch, 1)).length, 1);
});

const refused: [why: string, entry: Parameters<typeof endpoint>[1] & { name?: string }, text: RegExp][] = [
  ["no name", { name: "" }, /no name/],
  ["a name with a line break", { name: "a\nb" }, /control characters/],
  ["a name of absurd length", { name: "n".repeat(maxNameLength + 1) }, new RegExp(`at most ${maxNameLength}`)],
  ["a url with a blank", { url: "tcp://a b" }, /blanks/],
  ["a url of absurd length", { url: `tcp://${"a".repeat(maxUrlLength)}` }, new RegExp(`at most ${maxUrlLength}`)],
  ["a service name with a NUL", { network_service_names: ["a\0"] }, /control characters/],
  ["an absurd size", { network_service_names: Array(maxEntryBytes / 4).fill("service") }, new RegExp(`at most ${maxEntryBytes}`)],
];
for (const [why, { name = "e", ...entry }, text] of refused) {
  test(`an endpoint with ${why} is INVALID_ARGUMENT`, async (t) => {
    const { endpoints, signal } = await testRegistry(t);
    const error = { code: Code.INVALID_ARGUMENT, message: text };
    await assert.rejects(endpoints.register(endpoint(name, entry), { signal }), error);
    assert.deepEqual(await collect(endpoints.find(endpoint(""), { watch: false, signal })), []);
  });
}

const headers = ["", "x", "[]", "null", '{"Index":1,"PathSegments":[null,null]}', '{"Index":9,"PathSegments":[{"token":""}]}'];
for (const path of headers) {
  test(`a path header ${JSON.stringify(path)} is INVALID_ARGUMENT`, async (t) => {
    const { endpoints, services, signal } = await testRegistry(t);
    const call = { signal, metadata: { path } };
    const error = { code: Code.INVALID_ARGUMENT };
    await assert.rejects(endpoints.register(endpoint("e"), call), error);
    await assert.rejects(endpoints.unregister(endpoint("e"), call), error);
    await assert.rejects(services.register(service("s"), call), error);
    await endpoints.register(endpoint("e"), { signal });
  });
}

test("a path header with a null list is an empty path", async (t) => {
  const { endpoints, signal } = await testRegistry(t);
  await endpoints.register(endpoint("e"), { signal, metadata: { path: '{"Index":3,"PathSegments":null}' } });
});

test("names like properties of objects and like templates are names like others", async (t) => {
  const { endpoints, signal } = await testRegistry(t);
  for (const name of ["toString", "constructor", "{{.x}}", "a@b", "ü", " ", "\u{1f600}"]) {
    const labels = { [name]: { labels: { [name]: name } } };
    await endpoints.register(endpoint(name, { network_service_names: [name], network_service_labels: labels }), { signal });
    const found = await collect(endpoints.find(endpoint(name, { network_service_names: [name] }), { watch: false, signal }));
    assert.deepEqual(
      found.map((one) => one.name),
      [name],
    );
  }
});

test("any bytes to any method are answered with a status that blames the caller, and the registry lives", async (t) => {
  const { url, endpoints, signal } = await testRegistry(t);
  const raw = rawClient(t, url);
  const valid = Buffer.from(
    NetworkServiceEndpoint.encode(endpoint("e", { network_service_names: ["s"], url: "tcp://a:1" })).finish(),
  );
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    // a valid message with one byte changed, or cut off
    fc
      .tuple(fc.nat(valid.length - 1), fc.nat(255))
      .map(([at, byte]) => Uint8Array.from(valid, (old, i) => (i === at ? byte : old))),
    fc.nat(valid.length).map((length) => Uint8Array.from(valid.subarray(0, length))),
  );
  const allowed: number[] = [Code.OK, Code.INVALID_ARGUMENT];
  await fc.assert(
    fc.asyncProperty(
      garbage,
      fc.constantFrom("Register", "Unregister", "Find"),
      fc.boolean(),
      async (bytes, method, services) => {
        const path = `/registry.NetworkService${services ? "" : "Endpoint"}Registry/${method}`;
        const code = await (method === "Find"
          ? raw.streamCode(path, Buffer.from(bytes))
          : raw.unaryCode(path, Buffer.from(bytes)));
        assert.ok(allowed.includes(code), `${path} ${Buffer.from(bytes).toString("hex")} → ${code}`);
      },
    ),
    { numRuns: 400 },
  );
  await endpoints.register(endpoint("alive"), { signal });
});

/** Sends bytes as they are. */
function rawClient(scope: Scope, url: string) {
  const client = new Client(url.replace("tcp://", ""), credentials.createInsecure());
  scope.after(() => client.close());
  const same = (bytes: Buffer): Buffer => bytes;
  const open = (path: string, bytes: Buffer) => client.makeServerStreamRequest(path, same, same, bytes, new Metadata());
  const ended = (path: string, bytes: Buffer): Promise<number> =>
    new Promise((resolve) => {
      // A query that is taken for a watch never ends by itself.
      const stream = open(path, bytes);
      const timer = setTimeout(() => stream.cancel(), 300);
      stream.on("data", () => {});
      stream.on("end", () => resolve(Code.OK));
      stream.on("error", (error: ServiceError) => resolve(error.code === Code.CANCELLED ? Code.OK : error.code));
      stream.on("close", () => clearTimeout(timer));
    });
  return {
    /** All answers, or the first `count` of a stream that does not end. */
    stream: (path: string, bytes: Buffer, count = Number.POSITIVE_INFINITY) =>
      new Promise<Buffer[]>((resolve, reject) => {
        const answers: Buffer[] = [];
        const stream = open(path, bytes);
        stream.on("data", (answer: Buffer) => {
          answers.push(answer);
          if (answers.length >= count) stream.cancel();
        });
        stream.on("end", () => resolve(answers));
        stream.on("error", (error: ServiceError) => (error.code === Code.CANCELLED ? resolve(answers) : reject(error)));
      }),
    streamCode: ended,
    unaryCode: (path: string, bytes: Buffer) =>
      new Promise<number>((resolve) => {
        client.makeUnaryRequest(path, same, same, bytes, new Metadata(), (error) => resolve(error?.code ?? Code.OK));
      }),
  };
}
