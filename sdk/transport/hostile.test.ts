// What strangers may do to a server, and what a server may do to its callers.
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import fc from "fast-check";
import type { ConnectionApi } from "../api.js";
import type { Handler } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code } from "../status.js";
import { startTestServer } from "../testing/test-server.js";
import { until } from "../testing/until.js";

const request = NetworkServiceRequest.fromPartial({ connection: { id: "c1" } });
const never = new AbortController().signal;

test("5,000 cancelled calls end no other stream", async (t) => {
  let waiting = 0;
  const { url, dialer, hub } = await startTestServer(t, {
    request: async (_request, { signal }) => {
      waiting++;
      await aborted(signal);
      throw signal.reason;
    },
  });
  const events = dialer.monitor(url, { path_segments: [], network_services: [] }, never)[Symbol.asyncIterator]();
  await events.next();
  for (let round = 0; round < 10; round++) {
    waiting = 0;
    const caller = new AbortController();
    const calls = Array.from({ length: 500 }, () => dialer.connections(url).request(request, { signal: caller.signal }));
    const outcomes = Promise.allSettled(calls);
    await until("all calls have arrived", () => waiting === 500 || undefined, 20_000);
    caller.abort();
    const codes = (await outcomes).map((outcome) => outcome.status === "rejected" && outcome.reason.code);
    assert.deepEqual([...new Set(codes)], [Code.CANCELLED]);
  }
  hub.publish(Connection.fromPartial({ id: "still here" }));
  assert.deepEqual(Object.keys((await events.next()).value.connections), ["still here"]);
});

const greetings = [
  { what: "HTTP/1", bytes: Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
  { what: "a TLS hello", bytes: Buffer.from("16030100a5010000a10303", "hex") },
  { what: "half a preface", bytes: Buffer.from("PRI * HTTP/2.0\r\n\r\nSM") },
  { what: "a preface and an absurd frame", bytes: Buffer.concat([preface(), Buffer.from("ffffff0000000000ff", "hex")]) },
  { what: "a preface and a header block that never ends", bytes: Buffer.concat([preface(), Buffer.alloc(200_000, 0x41)]) },
  { what: "zeros", bytes: Buffer.alloc(100_000) },
];
for (const { what, bytes } of greetings) {
  test(`${what} on the socket harms nobody`, async (t) => {
    const { url, path, dialer } = await startTestServer(t);
    const socket = await speak(t, path, bytes);
    socket.end();
    assert.equal((await dialer.connections(url).request(request, { signal: never })).id, "c1");
  });
}

test("any bytes on the socket, before and after a valid preface, harm nobody", async (t) => {
  const { url, path, dialer } = await startTestServer(t);
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.uint8Array({ minLength: 1, maxLength: 300 }), async (greeted, bytes) => {
      const socket = await speak(t, path, greeted ? Buffer.concat([preface(), bytes]) : Buffer.from(bytes));
      socket.destroy();
    }),
    { numRuns: 200 },
  );
  assert.equal((await dialer.connections(url).request(request, { signal: never })).id, "c1");
});

test("a connection that never speaks is closed", async (t) => {
  const { path } = await startTestServer(t, {}, { helloTimeoutMs: 50 });
  const socket = await speak(t, path, Buffer.alloc(0));
  await new Promise((resolve) => socket.once("close", resolve));
});

const malformed = [
  { what: "no protobuf", bytes: Buffer.from("0affffffff0f", "hex"), code: Code.INVALID_ARGUMENT },
  { what: "a truncated message", bytes: Buffer.from("0a50", "hex"), code: Code.INVALID_ARGUMENT },
  { what: "deeply nested groups", bytes: Buffer.alloc(3_000_000, 0xdb), code: Code.INVALID_ARGUMENT },
  { what: "a label named __proto__", bytes: withLabel("__proto__"), code: Code.INVALID_ARGUMENT },
  { what: "a message above the limit", bytes: Buffer.alloc(5_000_000), code: Code.RESOURCE_EXHAUSTED },
  { what: "a label named constructor", bytes: withLabel("constructor"), code: Code.OK },
];
for (const { what, bytes, code } of malformed) {
  test(`${what} is answered with ${code}`, async (t) => {
    const { path } = await startTestServer(t);
    assert.equal(await sendRaw(t, path, bytes), code);
  });
}

test("an unknown enum value passes unchanged, a hostile label stays a label", async (t) => {
  const { url, dialer } = await startTestServer(t);
  const connection = { ...Connection.fromPartial({ id: "c1", labels: { constructor: "x" } }), state: 99 as never };
  const answer = await dialer.connections(url).request({ connection, mechanism_preferences: [] }, { signal: never });
  assert.equal(answer.state, 99);
  assert.deepEqual(Object.entries(answer.labels), [["constructor", "x"]]);
});

test("any bytes as a request are answered with a status, and the server lives on", async (t) => {
  const { path } = await startTestServer(t);
  const valid = Buffer.from(NetworkServiceRequest.encode(request).finish());
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(fc.nat(valid.length - 1), fc.nat(255)).map(([at, value]) => Buffer.from(valid).fill(value, at, at + 1)),
  );
  await fc.assert(
    fc.asyncProperty(bytes, async (input) => {
      const code = await sendRaw(t, path, Buffer.from(input));
      assert.ok(code === Code.OK || code === Code.INVALID_ARGUMENT, `status ${code}`);
    }),
    { numRuns: 200 },
  );
});

test("headers above 64 KiB are refused, and the server lives on", async (t) => {
  const { url, path, dialer } = await startTestServer(t);
  const headers = new Metadata();
  headers.set("nsm-client-token", "x".repeat(100_000));
  assert.notEqual(await sendRaw(t, path, Buffer.alloc(0), headers), Code.OK);
  assert.equal((await dialer.connections(url).request(request, { signal: never })).id, "c1");
});

test("calls beyond the limit are refused with RESOURCE_EXHAUSTED and a hint when to try again", async (t) => {
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  let waiting = 0;
  const handler: Partial<Handler<ConnectionApi>> = {
    request: async ({ connection }) => {
      waiting++;
      await gate;
      return connection ?? Connection.fromPartial({});
    },
  };
  const { url, path, dialer } = await startTestServer(t, handler, { maxCalls: 2 });
  const calls = [1, 2].map(() => dialer.connections(url).request(request, { signal: never }));
  await until("two calls wait", () => waiting === 2 || undefined, 5000);
  const trailer = new Metadata();
  assert.equal(await sendRaw(t, path, encoded(), undefined, trailer), Code.RESOURCE_EXHAUSTED);
  assert.match(String(trailer.get("grpc-retry-pushback-ms")[0]), /^\d+$/);
  release();
  await Promise.all(calls);
  assert.equal(await sendRaw(t, path, encoded()), Code.OK);
});

test("a call in progress may finish while the server drains", async (t) => {
  const started = new AbortController();
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { url, dialer, listener } = await startTestServer(t, {
    request: async ({ connection }) => {
      started.abort();
      await gate;
      return connection ?? Connection.fromPartial({});
    },
  });
  const answer = dialer.connections(url).request(request, { signal: never });
  await aborted(started.signal);
  const drained = listener.drain(10_000);
  release();
  assert.equal((await answer).id, "c1");
  await drained;
});

test("a watcher that never reads costs the server a bounded backlog and delays nobody", async (t) => {
  const { url, dialer, hub } = await startTestServer(t);
  const lazy = dialer.monitor(url, { path_segments: [], network_services: [] }, never)[Symbol.asyncIterator]();
  await lazy.next();
  const eager = dialer.monitor(url, { path_segments: [], network_services: [] }, never)[Symbol.asyncIterator]();
  await eager.next();
  const payload = "x".repeat(50_000);
  for (let i = 0; i < 200; i++) {
    hub.publish(Connection.fromPartial({ id: "c", payload: `${i} ${payload}` }));
    if (i % 20 === 0) await eager.next();
  }
  for (let last = ""; !last.startsWith("199 "); ) last = (await eager.next()).value.connections["c"]?.payload ?? "";
  await lazy.return?.();
});

function preface(): Buffer {
  return Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from("000000040000000000", "hex")]);
}

function encoded(): Buffer {
  return Buffer.from(NetworkServiceRequest.encode(request).finish());
}

/** Spelled as bytes, because an object literal cannot hold every name. */
function withLabel(name: string): Buffer {
  const labels = Object.fromEntries([["?".repeat(name.length), "v"]]);
  const bytes = NetworkServiceRequest.encode(NetworkServiceRequest.fromPartial({ connection: { labels } })).finish();
  return Buffer.from(Buffer.from(bytes).toString("latin1").replace(/\?+/, name), "latin1");
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** Opens a connection and sends bytes; resolves when they are on their way. */
async function speak(t: TestContext, path: string, bytes: Buffer): Promise<Socket> {
  const socket = connect({ path });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  socket.resume();
  await new Promise((resolve) => socket.once("connect", resolve));
  if (bytes.length > 0) await new Promise((resolve) => socket.write(bytes, resolve));
  return socket;
}

/** Sends bytes as the message of a Request; the status code of the answer. */
async function sendRaw(
  t: TestContext,
  path: string,
  bytes: Buffer,
  headers = new Metadata(),
  trailer?: Metadata,
): Promise<number> {
  const client = new Client(`unix:${path}`, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_send_message_length": -1,
  });
  t.after(() => client.close());
  const pass = (message: Buffer): Buffer => message;
  try {
    return await new Promise((resolve) => {
      client.makeUnaryRequest("/networkservice.NetworkService/Request", pass, pass, bytes, headers, (error) => {
        if (error && trailer) trailer.merge(error.metadata);
        resolve(error ? error.code : Code.OK);
      });
    });
  } finally {
    client.close();
  }
}
