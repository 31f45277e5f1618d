import assert from "node:assert/strict";
import { test } from "node:test";
import { again, aliased, failure, fit, lifeOf, queryFor } from "./answers.js";
import { answers } from "./ask.js";
import { createCache } from "./cache.js";
import {
  isTruncated,
  type Message,
  rcode,
  rcodeOf,
  readMessage,
  readName,
  readQuestion,
  recordType,
  writeName,
} from "./message.js";
import { createUnframer, framed } from "./tcp-frames.js";
import { message, record } from "./testing/name-server.js";

function query(name: string, type: number = recordType.a, more: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.from([0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, more.length > 0 ? 1 : 0]);
  return Buffer.concat([head, Buffer.concat([writeName(name) ?? Buffer.alloc(1), Buffer.from([0, type, 0, 1])]), more]);
}
const optOf4096 = Buffer.from([0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
const address = (last: number, ttl = 60): Buffer => record(recordType.a, ttl, Buffer.from([10, 0, 0, last]));
function read(bytes: Buffer): Message {
  const found = readMessage(bytes);
  assert.ok(found !== undefined);
  return found;
}

test("a question is read in lower case; one that is cut off, compressed or not alone is none", () => {
  const bytes = query("Printer.Office.Example");
  assert.deepEqual(readQuestion(bytes), { name: "printer.office.example", type: 1, class: 1, end: bytes.length });
  for (let length = 0; length < bytes.length; length++) assert.equal(readQuestion(bytes.subarray(0, length)), undefined);
  const pointer = Buffer.from(bytes);
  pointer[12] = 0xc0;
  assert.equal(readQuestion(pointer), undefined);
  const two = Buffer.from(bytes);
  two.writeUInt16BE(2, 4);
  assert.equal(readQuestion(two), undefined);
  const dotted = query("axb");
  dotted.write(".", 14);
  assert.equal(readQuestion(dotted)?.name, undefined, "a label with a dot in it is not two labels");
});

test("no message of a million makes the reader throw or go on for ever", () => {
  let seed = 7;
  const next = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
    return seed >> 8;
  };
  const good = message(
    query("a.b.example", recordType.a, optOf4096),
    rcode.noError,
    [address(1), address(2)],
    record(recordType.soa, 5, Buffer.alloc(24)),
  );
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(good.subarray(0, 12 + (next() % good.length)));
    for (let spoiled = next() % 6; spoiled > 0; spoiled--) bytes[next() % bytes.length] = next() & 0xff;
    const found = readMessage(bytes);
    if (found === undefined) continue;
    for (const { owner, dataAt, dataLength } of found.records) {
      assert.ok(dataAt + dataLength <= bytes.length);
      readName(bytes, owner);
    }
    lifeOf(found);
    aliased(found, "x.example", found);
    fit(found, found.bytes);
  }
});

test("names point backwards only, and are never longer than 255 bytes", () => {
  const bytes = Buffer.alloc(700, 0);
  bytes.writeUInt16BE(0xc000 | 40, 40);
  assert.equal(readName(bytes, 40), undefined, "to itself");
  bytes.writeUInt16BE(0xc000 | 60, 50);
  assert.equal(readName(bytes, 50), undefined, "forwards");
  bytes.writeUInt16BE(0xc000 | 4, 60);
  assert.equal(readName(bytes, 60), undefined, "into the header");
  // a long chain of pointers, each with a label: ended by the length of the name
  for (let at = 100; at < 690; at += 6) {
    bytes.set([3, 97, 97, 97], at);
    bytes.writeUInt16BE(0xc000 | (at - 6), at + 4);
  }
  assert.equal(readName(bytes, 682), undefined);
  assert.ok(readName(bytes, 400) !== undefined);
  assert.equal(writeName("a..b"), undefined);
  assert.equal(writeName("a".repeat(64)), undefined);
  assert.equal(writeName(Array.from({ length: 130 }, () => "a").join(".")), undefined);
});

test("an answer fits its question by id, direction and name, whatever the cases", () => {
  const asked = query("a.example");
  assert.ok(answers(asked, message(query("A.Example"), rcode.noError, [])));
  assert.ok(!answers(asked, message(query("b.example"), rcode.noError, [])));
  assert.ok(!answers(asked, message(query("a.example", recordType.aaaa), rcode.noError, [])));
  assert.ok(!answers(asked, asked));
  const other = message(asked, rcode.noError, []);
  other.writeUInt16BE(1, 0);
  assert.ok(!answers(asked, other));
  const bare = Buffer.from([0x12, 0x34, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.ok(!answers(asked, bare), "an answer says to what");
  bare[3] = 0x85;
  assert.ok(answers(asked, bare), "a refusal need not");
});

test("what is found under another name is told as an alias, with all names written out", () => {
  const asked = read(query("printer"));
  const target = record(recordType.cname, 9, Buffer.concat([Buffer.from([1, 0x78]), Buffer.from([0xc0, 12 + 8])]));
  const found = read(message(queryFor(asked, "printer.office.example") ?? Buffer.alloc(0), rcode.noError, [target, address(9)]));
  const bytes = aliased(asked, "printer.office.example", found);
  const told = read(bytes ?? Buffer.alloc(0));
  assert.deepEqual(
    told.records.map(({ type }) => type),
    [recordType.cname, recordType.cname, recordType.a],
  );
  const nameAt = (at: number): string =>
    readName(told.bytes, at)
      ?.name.toString("latin1")
      .replace(/[^!-~]/g, ".") ?? "";
  assert.equal(nameAt(told.records[0]?.owner ?? 0), ".printer.");
  assert.equal(nameAt(told.records[0]?.dataAt ?? 0), ".printer.office.example.");
  assert.equal(nameAt(told.records[1]?.dataAt ?? 0), ".x.office.example.");
  assert.equal(nameAt(told.records[2]?.owner ?? 0), ".printer.office.example.");
});

test("over UDP: what is larger than the client takes is cut off", () => {
  const many = Array.from({ length: 60 }, (_, i) => address(i));
  const whole = message(query("a.example"), rcode.noError, many);
  const cut = fit(read(query("a.example")), whole);
  assert.ok(isTruncated(cut) && cut.length < 512);
  assert.equal(fit(read(query("a.example", recordType.a, optOf4096)), whole), whole);
  assert.equal(rcodeOf(failure(query("a.example"), readQuestion(query("a.example")), rcode.serverFailure)), 2);
});

test("memory: by what is asked, for as long as is said, half a minute at most; refusals are not kept", () => {
  let nowMs = 0;
  const cache = createCache(() => nowMs);
  const asked = read(query("A.example"));
  cache.put(asked, read(message(query("a.example"), rcode.noError, [address(1, 3_600)])));
  nowMs = 10_400;
  const found = cache.get(asked);
  assert.ok(found !== undefined);
  const told = read(again(found.answer, asked, 30, found.ageSeconds));
  assert.equal(told.records[0]?.ttl, 20);
  assert.equal(told.bytes.toString("latin1", 13, 14), "A", "in the spelling of who asks");
  assert.equal(cache.get(read(query("a.example", recordType.aaaa))), undefined);
  assert.equal(cache.get(read(query("a.example", recordType.a, optOf4096))), undefined, "EDNS is another question");
  nowMs = 30_001;
  assert.equal(cache.get(asked), undefined);
  cache.put(asked, read(message(query("a.example"), rcode.refused, [])));
  cache.put(asked, read(message(query("a.example"), rcode.nameError, [])));
  assert.equal(cache.get(asked), undefined, "without an SOA record a no is not kept (RFC 2308)");
  for (let i = 0; i < 3_000; i++)
    cache.put(read(query(`n${i}.example`)), read(message(query(`n${i}.example`), rcode.noError, [address(1)])));
  assert.equal(cache.get(read(query("n0.example"))), undefined);
  assert.ok(cache.get(read(query("n2999.example"))) !== undefined);
});

test("TCP: messages are put together from any pieces", () => {
  const all: number[] = [];
  const unframe = createUnframer((bytes) => void all.push(bytes.length));
  const stream = Buffer.concat([
    framed(Buffer.alloc(5)),
    framed(Buffer.alloc(0)),
    framed(Buffer.alloc(65_535)),
    framed(Buffer.alloc(1)),
  ]);
  for (let at = 0; at < stream.length; at += 4_099) unframe(stream.subarray(at, at + 4_099));
  assert.deepEqual(all, [5, 0, 65_535, 1]);
});
