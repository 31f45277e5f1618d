/** Makes DNS messages out of others: refusals, cut-off ones, cached ones made younger, and those found under another name. */
import {
  headerBytes,
  type Message,
  optOf,
  type Question,
  type ResourceRecord,
  rcodeOf,
  readName,
  recordType,
  udpLimitOf,
  writeName,
} from "./message.js";

/** A copy under another id. */
export function withId(bytes: Buffer, id: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt16BE(id, 0);
  return copy;
}

/** The answer that there is none: header, question and, for who speaks EDNS, an OPT record. */
export function failure(query: Buffer, question: Question | undefined, code: number): Buffer {
  const head = Buffer.from(query.subarray(0, question?.end ?? headerBytes));
  // response, opcode and "recursion desired" as asked; recursion available
  head.writeUInt8(0x80 | (head.readUInt8(2) & 0x79), 2);
  head.writeUInt8(0x80 | code, 3);
  head.writeUInt16BE(question === undefined ? 0 : 1, 4);
  head.fill(0, 6, headerBytes);
  return head;
}

/** Over UDP: the answer, or, where it is too large, the word to come by TCP (RFC 2181 §9). */
export function fit(query: Message, answer: Buffer): Buffer {
  if (answer.length <= udpLimitOf(query)) return answer;
  const code = rcodeOf(answer);
  const cut = failure(query.bytes, query.question, code);
  cut.writeUInt8(cut.readUInt8(2) | 0x02, 2);
  if (optOf(query) === undefined) return cut;
  cut.writeUInt16BE(1, 10);
  return Buffer.concat([cut, Buffer.from([0, 0, recordType.opt, 0x04, 0xd0, 0, 0, 0, 0, 0, 0])]);
}

/** The smallest TTL of the records, and for a "no" that of its SOA record and its `minimum` (RFC 2308 §5). Seconds; undefined = none. */
export function lifeOf({ bytes, records }: Message): number | undefined {
  const answers = records.filter(({ section }) => section === 0);
  if (answers.length > 0) return Math.min(...answers.map(({ ttl }) => ttl));
  const soa = records.find(({ section, type, dataLength }) => section === 1 && type === recordType.soa && dataLength >= 22);
  if (soa === undefined) return undefined;
  return Math.min(soa.ttl, bytes.readUInt32BE(soa.dataAt + soa.dataLength - 4));
}

/** An answer for who asks the same: its id, its spelling of the name, TTLs at most `ttl` seconds and younger by `ageSeconds`. */
export function again(answer: Message, query: Message, ttl: number, ageSeconds: number): Buffer {
  const copy = withId(answer.bytes, query.bytes.readUInt16BE(0));
  query.bytes.copy(copy, headerBytes, headerBytes, query.question.end);
  for (const record of answer.records) {
    if (record.type === recordType.opt) continue;
    copy.writeUInt32BE(Math.max(0, Math.min(record.ttl, ttl) - Math.floor(ageSeconds)), record.ttlAt);
  }
  return copy;
}

/** The query for another name; undefined: the name cannot be written. */
export function queryFor(query: Message, name: string): Buffer | undefined {
  const written = writeName(name);
  if (written === undefined) return undefined;
  const { bytes, question } = query;
  return Buffer.concat([bytes.subarray(0, headerBytes), written, bytes.subarray(question.end - 4)]);
}

/**
 * The answer to `query` that was found under `name`: an alias from the name asked for to the one found, then what was
 * found, with all names written out, because pointers lead elsewhere in the new message.
 * Undefined: the answer is malformed in one of its records.
 */
export function aliased(query: Message, name: string, found: Message): Buffer | undefined {
  const target = writeName(name);
  if (target === undefined) return undefined;
  const kept = found.records.filter(({ type, section }) => section === 0 || type === recordType.opt);
  const written: Buffer[] = [];
  for (const record of kept) {
    const bytes = writeRecord(found.bytes, record);
    if (bytes === undefined) return undefined;
    written.push(bytes);
  }
  const answers = kept.filter(({ section }) => section === 0);
  const alias = Buffer.alloc(12);
  alias.writeUInt16BE(0xc000 | headerBytes, 0);
  alias.writeUInt16BE(recordType.cname, 2);
  alias.writeUInt16BE(query.question.class, 4);
  alias.writeUInt32BE(Math.min(...answers.map(({ ttl }) => ttl), 30), 6);
  alias.writeUInt16BE(target.length, 10);
  const head = Buffer.from(query.bytes.subarray(0, query.question.end));
  found.bytes.copy(head, 2, 2, 4);
  head.writeUInt16BE(answers.length + 1, 6);
  head.writeUInt16BE(0, 8);
  head.writeUInt16BE(kept.length - answers.length, 10);
  return Buffer.concat([head, alias, target, ...written]);
}

/** Bytes of the data before, between and behind the names in it (RFC 1035 §3.3, RFC 2782, RFC 6672); absent: no names. */
const layouts: ReadonlyMap<number, { readonly before: number; readonly names: number }> = new Map([
  [recordType.ns, { before: 0, names: 1 }],
  [recordType.cname, { before: 0, names: 1 }],
  [recordType.ptr, { before: 0, names: 1 }],
  [recordType.dname, { before: 0, names: 1 }],
  [recordType.mx, { before: 2, names: 1 }],
  [recordType.srv, { before: 6, names: 1 }],
  [recordType.soa, { before: 0, names: 2 }],
]);

function writeRecord(bytes: Buffer, record: ResourceRecord): Buffer | undefined {
  const owner = readName(bytes, record.owner);
  const data = writeData(bytes, record);
  if (owner === undefined || data === undefined) return undefined;
  const fixed = Buffer.from(bytes.subarray(record.ttlAt - 4, record.dataAt));
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner.name, fixed, data]);
}

function writeData(bytes: Buffer, { type, dataAt, dataLength }: ResourceRecord): Buffer | undefined {
  const end = dataAt + dataLength;
  const layout = layouts.get(type);
  if (layout === undefined) return bytes.subarray(dataAt, end);
  const parts = [bytes.subarray(dataAt, Math.min(end, dataAt + layout.before))];
  let at = dataAt + layout.before;
  for (let left = layout.names; left > 0; left--) {
    const name = readName(bytes, at);
    if (name === undefined || name.end > end) return undefined;
    parts.push(name.name);
    at = name.end;
  }
  if (at > end) return undefined;
  return Buffer.concat([...parts, bytes.subarray(at, end)]);
}
