import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { Socket } from "node:net";
import { test } from "node:test";
import { boundSocket, connectedSocket } from "../../sdk/linux/inet-socket.js";
import { until } from "../../sdk/testing/until.js";
import { queriesPerSecond } from "./divert.js";
import { rcode, recordType, writeName } from "./message.js";
import { createUnframer, framed } from "./tcp-frames.js";
import { type AnswerBytes, message, record } from "./testing/name-server.js";
import { glibc, startNames } from "./testing/names.js";
import { clusterServer } from "./testing/place.js";

const address = Buffer.from([172, 16, 1, 9]);
const good = (query: Buffer): Buffer =>
  message(query, rcode.noError, query.readUInt16BE(query.length - 4) === 28 ? [] : [record(recordType.a, 60, address)]);
const hostile: readonly { readonly what: string; readonly answer: AnswerBytes; readonly resolves: boolean }[] = [
  {
    what: "a thousand answers with wrong ids, the right one at the end",
    resolves: false,
    answer: (query) => [
      ...Array.from({ length: 1_000 }, (_, i) =>
        spoiled(query, (bytes) => bytes.writeUInt16BE((bytes.readUInt16BE(0) + i + 1) & 0xffff, 0)),
      ),
      good(query),
    ],
  },
  {
    what: "some answers with wrong ids and to other questions before the right one",
    resolves: true,
    answer: (query) => [
      ...Array.from({ length: 20 }, (_, i) =>
        spoiled(query, (bytes) => bytes.writeUInt16BE((bytes.readUInt16BE(0) + i + 1) & 0xffff, 0)),
      ),
      spoiled(query, (bytes) => bytes.writeUInt8(0x78, 13)),
      spoiled(query, (bytes) => bytes.writeUInt8(0, 2)),
      Buffer.alloc(0),
      Buffer.from([1, 2, 3]),
      good(query),
    ],
  },
  { what: "a name that points to itself", resolves: false, answer: (query) => pointing(query, query.length) },
  {
    what: "a record longer than the message",
    resolves: false,
    answer: (query) => spoiled(query, (bytes) => bytes.writeUInt16BE(0xffff, bytes.length - 6)),
  },
  {
    what: "sixty thousand records that are not there",
    resolves: false,
    answer: (query) => spoiled(query, (bytes) => bytes.writeUInt16BE(60_000, 6)),
  },
  {
    what: "random bytes under the right id",
    resolves: false,
    answer: (query) =>
      Buffer.concat([query.subarray(0, 2), Buffer.from([0x84, 0x80]), query.subarray(4), Buffer.alloc(400, 0xc1)]),
  },
  { what: "nothing", resolves: false, answer: () => undefined },
];

for (const { what, answer, resolves } of hostile) {
  test(`hostile server: ${what}`, async (t) => {
    const { pod } = await startNames(t, { mesh: answer });
    const { out } = await pod.run(["timeout", "6", "getent", "ahostsv4", "printer.office.example."]);
    assert.equal(/172\.16\.1\.9/.test(out), resolves, out);
    assert.equal(await glibc(pod, "web"), "10.96.1.1");
  });
}

test("a pod that floods its name server: what is too much goes there without us, and the endpoint's names are back after it", async (t) => {
  const { pod, dns, clean } = await startNames(t);
  const socket = createSocket("udp4");
  clean.after(() => socket.close());
  socket.bind({ fd: boundSocket(pod.netns, "udp", "10.96.0.2", 0).fd });
  const query = Buffer.from("000001000001000000000000036e6574076578616d706c650000010001", "hex");
  const startedMs = performance.now();
  const count = 6_000;
  for (let i = 0; i < count; i++) {
    query.writeUInt16BE(i, 0);
    socket.send(query, 53, clusterServer);
    if (i % 200 === 0) await new Promise(setImmediate);
  }
  await until("the flood to be over", () => pod.cluster.asked.length > queriesPerSecond);
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
  await until("names of the endpoint", async () => (await glibc(pod, "printer.office.example")) === "172.16.1.9");
  const most = queriesPerSecond * (1 + (performance.now() - startedMs) / 1_000) + 100;
  const taken = dns.counts()?.queries ?? 0;
  assert.ok(taken > 0 && taken <= most, `${taken} queries came by us, ${most} at most`);
});

test("three hundred questions at once in one TCP connection, byte by byte at first: all are answered", async (t) => {
  const { pod, clean } = await startNames(t);
  const fd = connectedSocket(pod.netns, "tcp", clusterServer, 53, {});
  const socket = new Socket({ fd, readable: true, writable: true });
  clean.after(() => socket.destroy());
  const answered = new Set<number>();
  socket.on(
    "data",
    createUnframer((bytes) => void answered.add(bytes.readUInt16BE(0))),
  );
  const questions = Array.from({ length: 300 }, (_, i) => {
    const query = Buffer.concat([
      Buffer.from([i >> 8, i & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
      questionOf("printer.office.example"),
    ]);
    return framed(query);
  });
  for (const byte of questions[0] ?? []) {
    socket.write(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  socket.write(Buffer.concat(questions.slice(1)));
  await until("all answers", () => answered.size === questions.length);
  // once, and at most three times more when the answer is late
  assert.ok(pod.mesh.asked.length <= 4, "the rest was known");
});

function questionOf(name: string): Buffer {
  return Buffer.concat([writeName(name) ?? Buffer.alloc(1), Buffer.from([0, recordType.a, 0, 1])]);
}

function spoiled(query: Buffer, spoil: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(good(query));
  spoil(bytes);
  return bytes;
}

/** The answer's owner name is a pointer to `target`. */
function pointing(query: Buffer, target: number): Buffer {
  const cname = record(recordType.cname, 60, Buffer.from([0xc0 | (target >> 8), target & 0xff]));
  return message(query, rcode.noError, [cname]);
}
