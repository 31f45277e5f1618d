// HPACK against Node's own HTTP/2 (nghttp2) in both directions, and against what nobody should send.
import assert from "node:assert/strict";
import { connect, createServer } from "node:http2";
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer, type Socket } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { createHeaderDecoder, fieldOf } from "./header-decoder.js";
import { beginBlock, createHeaderEncoder, limitTable, writeConstant, writeField } from "./header-encoder.js";

test("the examples of RFC 7541 appendix C.4 and C.6: Huffman code and dynamic table over several blocks", () => {
  const requests = createHeaderDecoder();
  const blocks = [
    ["828684418cf1e3c2e5f23a6ba0ab90f4ff", ":authority", "www.example.com"],
    ["828684be5886a8eb10649cbf", "cache-control", "no-cache"],
    ["828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", "custom-key", "custom-value"],
  ] as const;
  for (const [hex, name, value] of blocks) {
    const block = Buffer.from(hex, "hex");
    assert.equal(fieldOf(requests.decode(block, 0, block.length), name), value);
  }
});

test("what nghttp2 writes is read: any printable header, coded or not, over one table", async (t) => {
  const blocks: Buffer[] = [];
  let peer: Socket | undefined;
  // a server of our own that only collects header blocks, so that they are those of nghttp2
  const server = createTcpServer((socket) => {
    peer = socket;
    let bytes = Buffer.alloc(0);
    let at = 24;
    socket.write(Buffer.from("000000040000000000", "hex"));
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= at + 9 && bytes.length >= at + 9 + bytes.readUIntBE(at, 3)) {
        const length = bytes.readUIntBE(at, 3);
        // HEADERS with a priority of five bytes before the block, as Node sends them
        if (bytes[at + 3] === 1) blocks.push(bytes.subarray(at + 9 + ((bytes[at + 4] ?? 0) & 0x20 ? 5 : 0), at + 9 + length));
        at += 9 + length;
      }
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  session.on("error", () => {});
  t.after(() => {
    session.destroy();
    peer?.destroy();
    server.close();
  });
  const values = fc.sample(
    fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((c) => String.fromCharCode(c)), maxLength: 300 }),
    60,
  );
  for (const value of values) session.request({ ":path": "/x", "x-value": value, "x-same": "same" }).on("error", () => {});
  for (const end = Date.now() + 10_000; blocks.length < values.length && Date.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const decoder = createHeaderDecoder();
  const read = blocks.map((block) => decoder.decode(block, 0, block.length));
  assert.deepEqual(
    read.map((fields) => fieldOf(fields, "x-value")),
    values,
  );
  assert.ok(read.every((fields) => fieldOf(fields, "x-same") === "same"));
});

test("what we write is read by ourselves: constants cost one byte the second time; a smaller table is respected", () => {
  const encoder = createHeaderEncoder();
  const decoder = createHeaderDecoder();
  const constants = Array.from({ length: 60 }, (_, index) => ({ name: `x-${index}`, value: "v".repeat(index * 4) }));
  const buffer = Buffer.alloc(64 * 1024);
  const block = (): Buffer => {
    let at = beginBlock(encoder, buffer, 0);
    for (const field of constants) at = writeConstant(encoder, field, buffer, at);
    return Buffer.from(buffer.subarray(0, writeField("last", "one", buffer, at)));
  };
  const expected = [...constants.flatMap(({ name, value }) => [name, value]), "last", "one"];
  const [first, second] = [block(), block()];
  assert.deepEqual(decoder.decode(first, 0, first.length), expected);
  assert.deepEqual(decoder.decode(second, 0, second.length), expected);
  assert.ok(second.length < first.length - 1000);
  limitTable(encoder, 100);
  const third = block();
  assert.deepEqual(decoder.decode(third, 0, third.length), expected);
});

test("any bytes as a header block: fields within the bounds, or a fault; never anything else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      try {
        const fields = createHeaderDecoder().decode(Buffer.from(bytes), 0, bytes.length);
        assert.ok(fields.length <= 256 && fields.join("").length <= 64 * 1024);
      } catch (error) {
        assert.equal(typeof (error as { reset?: unknown }).reset, "number", String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test("a bomb of table references is refused at 64 KiB", () => {
  const buffer = Buffer.alloc(6000);
  const encoder = createHeaderEncoder();
  const at = writeConstant(encoder, { name: "x", value: "v".repeat(3900) }, buffer, 0);
  buffer.fill(0xbe, at, at + 100);
  assert.throws(() => createHeaderDecoder().decode(buffer, 0, at + 100), /64 KiB/);
});

test("a server of Node takes our requests' encoding", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => server.close());
  const seen = new Promise<Record<string, unknown>>((resolve) =>
    server.on("stream", (stream, headers) => {
      resolve(headers);
      stream.close();
    }),
  );
  const socket = connectTcp((server.address() as AddressInfo).port, "127.0.0.1");
  t.after(() => socket.destroy());
  const { openConnection } = await import("./client.js");
  const connection = openConnection({
    socket,
    secure: false,
    authority: "a.example",
    maxMessageBytes: 1000,
    onGone() {},
    onReady: () => {
      connection.call(
        { path: "/s/M", fields: ["x-token", "t ~"], message: Buffer.alloc(3), deadlineMs: Date.now() + 5000, paced: false },
        { message() {}, end() {} },
      );
    },
  });
  const headers = await seen;
  assert.deepEqual(
    [headers[":path"], headers[":authority"], headers["x-token"], headers["te"]],
    ["/s/M", "a.example", "t ~", "trailers"],
  );
  connection.destroy("the test is over");
});
