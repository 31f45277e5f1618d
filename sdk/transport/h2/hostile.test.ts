// Peers that keep to no rule.
import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { Code } from "../../status.js";
import { type CallStatus, openConnection } from "./client.js";
import type { ServedMethod } from "./server.js";
import { echo, frame, framed, goAwayCode, open, run, serve, speak, until } from "./testing.js";

const floods: readonly (readonly [string, Buffer])[] = [
  ["PING", frame(6, 0, 0, Buffer.alloc(8))],
  ["SETTINGS", frame(4, 0, 0, Buffer.alloc(0))],
  ["PRIORITY", frame(2, 0, 1, Buffer.alloc(5))],
  ["an unknown kind", frame(99, 0, 1, Buffer.alloc(5))],
];
for (const [name, bytes] of floods) {
  test(`a flood of ${name} frames ends its connection`, async (t) => {
    const port = await serve(t, { "/s/Echo": echo });
    const socket = await speak(t, port);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    for (let round = 0; round < 40; round++) socket.write(Buffer.concat(Array.from({ length: 500 }, () => bytes)));
    await closed;
    assert.equal((await run(await open(t, port), "/s/Echo", Buffer.from("x"))).status.code, Code.OK);
  });
}

const faults: readonly (readonly [string, Buffer])[] = [
  ["a frame above 16 KiB", Buffer.concat([Buffer.from("004001000000000001", "hex"), Buffer.alloc(16_385)])],
  ["data on a stream that is not open", frame(0, 0, 5, Buffer.alloc(1))],
  ["data on the connection", frame(0, 0, 0, Buffer.alloc(1))],
  ["headers on an even stream", frame(1, 5, 2, Buffer.from([0x83]))],
  ["headers that are none", frame(1, 5, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]))],
  ["a header block interrupted by a PING", Buffer.concat([frame(1, 0, 1, Buffer.from([0x83])), frame(6, 0, 0, Buffer.alloc(8))])],
  [
    "a header block that never ends",
    Buffer.concat([frame(1, 0, 1, Buffer.alloc(0)), ...Array.from({ length: 40 }, () => frame(9, 0, 1, Buffer.alloc(1)))]),
  ],
  ["a push", frame(5, 4, 1, Buffer.alloc(5))],
  ["a window update of nothing", frame(8, 0, 0, Buffer.alloc(4))],
  ["a window above 2 GiB", frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))],
  ["more padding than frame", frame(0, 8, 1, Buffer.from([200, 1]))],
];
for (const [name, bytes] of faults) {
  test(`${name} ends the connection with a GOAWAY that says why`, async (t) => {
    const port = await serve(t, { "/s/Echo": echo });
    const socket = await speak(t, port);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(bytes);
    await closed;
    assert.notEqual(goAwayCode(Buffer.concat(chunks)), 0);
  });
}

test("any frames after a greeting harm neither the server nor other connections", async (t) => {
  const port = await serve(t, { "/s/Echo": echo });
  const innocent = await open(t, port);
  const anyFrame = fc.tuple(fc.nat(10), fc.nat(255), fc.nat(9), fc.uint8Array({ maxLength: 60 }));
  await fc.assert(
    fc.asyncProperty(fc.array(anyFrame, { minLength: 1, maxLength: 20 }), async (frames) => {
      const socket = await speak(t, port);
      await new Promise((resolve) =>
        socket.write(
          Buffer.concat(frames.map(([type, flags, id, payload]) => frame(type, flags, id, Buffer.from(payload)))),
          resolve,
        ),
      );
      socket.destroy();
      assert.equal((await run(innocent, "/s/Echo", Buffer.from("x"))).status.code, Code.OK);
    }),
    { numRuns: 150 },
  );
});

test("any frames from a server end our calls with a status, and never the process", async (_t) => {
  const anyFrame = fc.tuple(fc.nat(10), fc.nat(255), fc.nat(3), fc.uint8Array({ maxLength: 60 }));
  await fc.assert(
    fc.asyncProperty(fc.array(anyFrame, { maxLength: 20 }), async (frames) => {
      const server = createServer((socket) => {
        socket.on("error", () => {});
        socket.resume();
        socket.write(frame(4, 0, 0, Buffer.alloc(0)));
        socket.end(Buffer.concat(frames.map(([type, flags, id, payload]) => frame(type, flags, id, Buffer.from(payload)))));
      }).listen(0, "127.0.0.1");
      await new Promise((resolve) => server.once("listening", resolve));
      try {
        const outcome = await new Promise<CallStatus | undefined>((resolve) => {
          const connection = openConnection({
            socket: connect((server.address() as AddressInfo).port, "127.0.0.1"),
            secure: false,
            authority: "x",
            maxMessageBytes: 1000,
            onReady: () =>
              connection.call(
                { path: "/s/Echo", fields: [], message: Buffer.alloc(0), deadlineMs: undefined, paced: false },
                { message() {}, end: resolve },
              ),
            onGone: () => resolve(undefined),
          });
        });
        assert.notEqual(outcome?.code, undefined as never, "");
      } catch (error) {
        assert.equal((error as Error).name, "AssertionError");
      } finally {
        server.close();
      }
    }),
    { numRuns: 100 },
  );
});

test("an answer that crosses the withdrawal of its call was not taken; who has read it to its end takes it", async (t) => {
  const untaken: string[] = [];
  const told: ServedMethod = {
    input: "single",
    serve(call, message = Buffer.alloc(0)) {
      call.onUntaken = () => untaken.push(message.toString());
      call.write(message);
      call.finish();
    },
  };
  const port = await serve(t, { "/s/Echo": told });
  const socket = await speak(t, port);
  let received = 0;
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  const path = Buffer.from("/s/Echo");
  const type = Buffer.from("application/grpc");
  // POST, http, and two literals with names of the static table (RFC 7541, appendix A: 4 and 31)
  const headers = Buffer.concat([
    Buffer.from([0x83, 0x86, 0x04, path.length]),
    path,
    Buffer.from([0x0f, 0x10, type.length]),
    type,
  ]);
  const call = async (id: number, reset: number | undefined): Promise<void> => {
    const before = received;
    socket.write(Buffer.concat([frame(1, 4, id, headers), frame(0, 1, id, framed(Buffer.from(`call ${id}`), 0))]));
    await until(() => received > before);
    if (reset !== undefined) socket.write(frame(3, 0, id, Buffer.from([0, 0, 0, reset])));
  };
  await call(1, 8);
  await call(3, undefined);
  await call(5, 0);
  await call(7, 8);
  await until(() => untaken.length === 2);
  socket.write(frame(3, 0, 7, Buffer.from([0, 0, 0, 8])));
  await call(9, undefined);
  assert.deepEqual(untaken, ["call 1", "call 7"]);
});
