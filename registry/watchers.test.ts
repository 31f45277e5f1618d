import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, type ClientReadableStream, credentials, type ServiceError } from "@grpc/grpc-js";
import { type NetworkServiceEndpoint, NetworkServiceEndpointQuery, NetworkServiceEndpointResponse } from "../sdk/gen/registry.js";
import { Code } from "../sdk/status.js";
import { createDialer } from "../sdk/transport/dial.js";
import { collect, endpoint, reader, type Scope, testRegistry, until } from "./test-registry.js";

const load = "x".repeat(10_000);
const big = (name: string, url: string) =>
  endpoint(name, { url, network_service_names: ["s"], network_service_labels: { s: { labels: { load } } } });
const all = endpoint("", { network_service_names: ["s"] });

for (const shared of [false, true]) {
  const where = shared ? "on the same connection" : "on a connection of its own";
  test(`a watcher that does not read (${where}) holds up nobody, and is told to find again when it reads`, async (t) => {
    const { url, endpoints, dialer, signal } = await testRegistry(t, { watchBuffer: 50 });
    const slow = stalledWatch(t, url);
    await endpoints.register(big("e", "first"), { signal });
    await until(() => slow.open());
    const watcher = shared ? slow.neighbour() : reader(urlsOf(dialer.endpointRegistry(url).find(all, { watch: true, signal })));
    assert.equal(await watcher.next(), "first");
    const told = watcher.take(400);
    for (let i = 0; i < 400; i++) await endpoints.register(big("e", `${i}`), { signal });
    assert.deepEqual(
      (await told).slice(-400),
      Array.from({ length: 400 }, (_, i) => `${i}`),
    );

    const { urls, code } = await slow.readAll();
    assert.equal(code, Code.RESOURCE_EXHAUSTED);
    assert.ok(urls.length < 400);
    // What it got before that is without gap or repetition.
    const numbers = urls.map((url) => (url === "first" ? -1 : Number(url)));
    assert.deepEqual(
      numbers,
      Array.from({ length: numbers.length }, (_, i) => (numbers[0] ?? 0) + i),
    );
    assert.equal((await collect(endpoints.find(all, { watch: false, signal })))[0]?.url, "399");
  });
}

test("a slow watcher that keeps within its buffer loses nothing", async (t) => {
  const { url, endpoints, signal } = await testRegistry(t, { watchBuffer: 500 });
  const slow = stalledWatch(t, url);
  await endpoints.register(big("e", "first"), { signal });
  await until(() => slow.open());
  for (let i = 0; i < 400; i++) await endpoints.register(big("e", `${i}`), { signal });
  await endpoints.unregister(endpoint("e"), { signal });
  const { urls } = await slow.readAll(402);
  assert.deepEqual(urls, ["first", ...Array.from({ length: 400 }, (_, i) => `${i}`), "399 deleted"]);
});

test("1,000 watchers each get each change once, in order", async (t) => {
  const { url, endpoints, signal } = await testRegistry(t);
  await endpoints.register(endpoint("e", { url: "0" }), { signal });
  const dialers = Array.from({ length: 4 }, () => createDialer({ dialTimeoutMs: 10_000 }));
  t.after(() => dialers.forEach((dialer) => void dialer.close()));
  const watchers = Array.from({ length: 1_000 }, (_, i) => {
    const dialer = dialers[i % dialers.length];
    assert.ok(dialer);
    const query = i % 2 === 0 ? endpoint("e") : endpoint("");
    return reader(urlsOf(dialer.endpointRegistry(url).find(query, { watch: true, signal })));
  });
  await Promise.all(watchers.map((watcher) => watcher.next()));
  const told = watchers.map((watcher) => watcher.take(10));
  for (let i = 1; i <= 10; i++) await endpoints.register(endpoint("e", { url: `${i}` }), { signal });
  const expected = Array.from({ length: 10 }, (_, i) => `${i + 1}`);
  for (const urls of await Promise.all(told)) assert.deepEqual(urls, expected);
});

async function* urlsOf(found: AsyncIterable<{ entry: NetworkServiceEndpoint; deleted: boolean }>): AsyncIterable<string> {
  for await (const { entry, deleted } of found) yield deleted ? `${entry.url} deleted` : entry.url;
}

/** A watch whose answers nobody reads after the first, until `readAll`. */
function stalledWatch(scope: Scope, url: string) {
  const client = new Client(url.replace("tcp://", ""), credentials.createInsecure());
  scope.after(() => client.close());
  const watch = (): ClientReadableStream<string> =>
    client.makeServerStreamRequest(
      "/registry.NetworkServiceEndpointRegistry/Find",
      (query: NetworkServiceEndpoint) =>
        Buffer.from(NetworkServiceEndpointQuery.encode({ network_service_endpoint: query, watch: true }).finish()),
      (bytes: Buffer) => {
        const { network_service_endpoint, deleted } = NetworkServiceEndpointResponse.decode(bytes);
        return deleted ? `${network_service_endpoint?.url} deleted` : (network_service_endpoint?.url ?? "");
      },
      all,
    );
  const stream = watch();
  const urls: string[] = [];
  // A stream that was never read is not held back by gRPC, so the reader stops after the first answer.
  stream.once("data", (answer: string) => {
    urls.push(answer);
    stream.pause();
  });
  return {
    open: () => urls.length === 1,
    /** Another watch on the same connection, which reads. */
    neighbour() {
      const other = watch();
      scope.after(() => other.cancel());
      other.on("error", () => {});
      return reader<string>(other);
    },
    readAll: (count = Number.POSITIVE_INFINITY) =>
      new Promise<{ urls: string[]; code: number }>((resolve) => {
        const done = (code: number): void => {
          resolve({ urls, code });
          stream.cancel();
        };
        stream.on("data", (answer: string) => {
          urls.push(answer);
          if (urls.length === count) done(Code.OK);
        });
        stream.on("error", (error: ServiceError) => done(error.code));
        stream.resume();
      }),
  };
}
