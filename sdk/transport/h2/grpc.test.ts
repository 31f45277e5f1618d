// Our gRPC against that of grpc-js in both directions.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Client, credentials, type Metadata } from "@grpc/grpc-js";
import { Code } from "../../status.js";
import type { ServedMethod } from "./server.js";
import { connectionWindow } from "./session.js";
import { ask, echo, framed, open, raw, run, serve, serveGrpcJs, settled, until } from "./testing.js";

/** Sizes around every bound: prefix, room, frame, windows. */
const sizes = [0, 1, 100, 8170, 8192, 16_375, 16_384, 16_385, 65_530, 65_536, 262_144, 1_000_000, 4_000_000];

test("messages of every size travel between us and grpc-js, both ways, unharmed", async (t) => {
  const port = await serve(t, { "/s/Echo": echo });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { "grpc.max_receive_message_length": -1 });
  t.after(() => client.close());
  const jsPort = await serveGrpcJs(t);
  const connection = await open(t, jsPort);
  for (const size of sizes) {
    const message = Buffer.from(Array.from({ length: 251 }, (_, index) => index))
      .toString("latin1")
      .repeat(Math.ceil(size / 251));
    const bytes = Buffer.from(message, "latin1").subarray(0, size);
    assert.ok((await ask(client, "/s/Echo", bytes)).equals(bytes), `grpc-js to us: ${size}`);
    const { messages, status } = await run(connection, "/s/Echo", bytes);
    assert.equal(status.code, Code.OK);
    assert.ok(messages[0]?.equals(bytes), `us to grpc-js: ${size}`);
  }
});

test("200 calls at once over one connection, larger together than its window", async (t) => {
  const port = await serve(t, { "/s/Echo": echo });
  const connection = await open(t, port);
  const calls = Array.from({ length: 200 }, (_, index) => run(connection, "/s/Echo", Buffer.alloc(100_000, index)));
  for (const [index, { messages }] of (await Promise.all(calls)).entries()) {
    assert.ok(messages[0]?.equals(Buffer.alloc(100_000, index)));
  }
  assert.ok(200 * 100_000 > connectionWindow);
});

test("statuses, trailers and texts outside of ASCII travel both ways", async (t) => {
  const details = "no address: größer als 100 % — 端点";
  const refuse: ServedMethod = {
    input: "single",
    serve: (call) => call.finish({ code: Code.RESOURCE_EXHAUSTED, details, fields: ["grpc-retry-pushback-ms", "700"] }),
  };
  const port = await serve(t, { "/s/Refuse": refuse });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.after(() => client.close());
  await assert.rejects(
    ask(client, "/s/Refuse", Buffer.alloc(1)),
    (error: { code: number; details: string; metadata: Metadata }) => {
      assert.deepEqual(
        [error.code, error.details, error.metadata.get("grpc-retry-pushback-ms")],
        [Code.RESOURCE_EXHAUSTED, details, ["700"]],
      );
      return true;
    },
  );
  const { status } = await run(await open(t, port), "/s/Refuse", Buffer.alloc(1));
  assert.deepEqual([status.code, status.details], [Code.RESOURCE_EXHAUSTED, details]);
  const unknown = await run(await open(t, port), "/s/Nothing", Buffer.alloc(1));
  assert.equal(unknown.status.code, Code.UNIMPLEMENTED);
});

test("a compressed request is taken; a bomb and an unknown way of compression are refused", async (t) => {
  const port = await serve(t, { "/s/Echo": echo });
  const plain = Buffer.alloc(50_000, 7);
  const answers = [
    await raw(t, port, { "grpc-encoding": "gzip" }, framed(gzipSync(plain), 1)),
    await raw(t, port, { "grpc-encoding": "gzip" }, framed(gzipSync(Buffer.alloc(20_000_000)), 1)),
    await raw(t, port, { "grpc-encoding": "snappy" }, framed(plain, 1)),
    await raw(t, port, {}, framed(plain, 1)),
    await raw(t, port, {}, framed(plain, 0).subarray(0, 100)),
    await raw(t, port, {}, Buffer.concat([framed(plain, 0), framed(plain, 0)])),
    await raw(t, port, { "grpc-timeout": "soon" }, framed(plain, 0)),
    await raw(t, port, { "content-type": "text/html" }, framed(plain, 0)),
  ];
  assert.deepEqual(answers, ["0", "8", "12", "12", "13", "13", "3", "http 415"]);
});

test("a stream waits for its reader: what is sent and not read stays within the window", async (t) => {
  let written = 0;
  let ended = false;
  const flood: ServedMethod = {
    input: "single",
    serve(call) {
      const more = (): void => {
        while (!ended && call.write(Buffer.alloc(10_000))) written += 10_000;
      };
      call.onDrained = more;
      call.onCut = () => {
        ended = true;
      };
      more();
    },
  };
  const port = await serve(t, { "/s/Flood": flood });
  const connection = await open(t, port);
  let received = 0;
  const call = connection.call(
    { path: "/s/Flood", fields: [], message: Buffer.alloc(0), deadlineMs: undefined, paced: true },
    {
      message: (bytes) => {
        received += bytes.length;
      },
      end() {},
    },
  );
  await settled(() => received);
  const before = received;
  assert.ok(before > 100_000 && before < 600_000, `${before} bytes without being used`);
  assert.ok(written - received < 600_000);
  call.used();
  await until(() => received > before);
  call.cancel();
  await until(() => ended);
});

test("a client that resets its calls as fast as it can loses its connection, and nobody else's", async (t) => {
  const port = await serve(t, { "/s/Never": { input: "single", serve() {} }, "/s/Echo": echo });
  const attacker = await open(t, port);
  let lost = 0;
  for (let round = 0; round < 2000 && attacker.ready; round++) {
    attacker
      .call(
        { path: "/s/Never", fields: [], message: Buffer.alloc(0), deadlineMs: undefined, paced: false },
        { message() {}, end: () => lost++ },
      )
      .cancel();
    if (round % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => !attacker.ready);
  assert.equal((await run(await open(t, port), "/s/Echo", Buffer.from("x"))).status.code, Code.OK);
});
