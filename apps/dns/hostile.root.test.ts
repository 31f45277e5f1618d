import assert from "node:assert/strict";
import { test } from "node:test";
import { rcode, recordType } from "./message.js";
import { type AnswerBytes, message, record } from "./testing/name-server.js";
import { glibc, startNames } from "./testing/names.js";

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
