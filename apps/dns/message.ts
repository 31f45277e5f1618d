/**
 * DNS messages as they are on the wire (RFC 1035 §4, EDNS of RFC 6891): only as much is read as a proxy must know, so that
 * what it does not know passes through unchanged. Whatever comes in is hostile: nothing is read beyond the end, names may
 * only point backwards, and what cannot be read is `undefined`.
 */

export const headerBytes = 12;
/** The largest message over UDP for who says nothing else (RFC 1035 §4.2.1). */
export const plainUdpBytes = 512;
export const maxMessageBytes = 65_535;

export const rcode = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4, refused: 5 } as const;
export const recordType = { a: 1, ns: 2, cname: 5, soa: 6, ptr: 12, mx: 15, aaaa: 28, srv: 33, dname: 39, opt: 41 } as const;

export interface Question {
  /** In lower case, without the dot at the end; "" = the root. With a label of other characters, or with a dot in it: undefined. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  /** First byte behind it. */
  readonly end: number;
}

export interface ResourceRecord {
  /** Answer, authority, additional. */
  readonly section: 0 | 1 | 2;
  /** Where its name begins. */
  readonly owner: number;
  readonly type: number;
  readonly class: number;
  /** Seconds. */
  readonly ttl: number;
  /** Where the four bytes of the TTL are. */
  readonly ttlAt: number;
  readonly dataAt: number;
  readonly dataLength: number;
}

export interface Message {
  readonly bytes: Buffer;
  readonly question: Question;
  readonly records: readonly ResourceRecord[];
}

export const idOf = (bytes: Buffer): number => bytes.readUInt16BE(0);
export const isResponse = (bytes: Buffer): boolean => (bytes.readUInt8(2) & 0x80) !== 0;
export const opcodeOf = (bytes: Buffer): number => (bytes.readUInt8(2) >> 3) & 0x0f;
export const isTruncated = (bytes: Buffer): boolean => (bytes.readUInt8(2) & 0x02) !== 0;
export const rcodeOf = (bytes: Buffer): number => bytes.readUInt8(3) & 0x0f;

/** The one question of a message; undefined: it has none, or several, or it is cut off. */
export function readQuestion(bytes: Buffer): Question | undefined {
  if (bytes.length < headerBytes + 5 || bytes.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let strange = false;
  let at = headerBytes;
  for (;;) {
    const length = bytes[at] ?? 0xff;
    if (length > 63 || at - headerBytes > 254) return undefined; // a question is never compressed
    at++;
    if (length === 0) break;
    if (at + length + 5 > bytes.length) return undefined;
    const label = bytes.toString("latin1", at, at + length);
    strange ||= label.includes(".") || !isPrintable(label);
    labels.push(lowerCase(label));
    at += length;
  }
  if (at + 4 > bytes.length) return undefined;
  const name = strange ? undefined : labels.join(".");
  return { name, type: bytes.readUInt16BE(at), class: bytes.readUInt16BE(at + 2), end: at + 4 };
}

/** The whole message, every record within its bounds; undefined: it is malformed. */
export function readMessage(bytes: Buffer): Message | undefined {
  const question = readQuestion(bytes);
  if (question === undefined) return undefined;
  const records: ResourceRecord[] = [];
  let at = question.end;
  for (const section of [0, 1, 2] as const) {
    for (let left = bytes.readUInt16BE(6 + 2 * section); left > 0; left--) {
      const record = readRecord(bytes, at, section);
      if (record === undefined) return undefined;
      records.push(record);
      at = record.dataAt + record.dataLength;
    }
  }
  return { bytes, question, records };
}

function readRecord(bytes: Buffer, owner: number, section: ResourceRecord["section"]): ResourceRecord | undefined {
  const at = skipName(bytes, owner);
  if (at === undefined || at + 10 > bytes.length) return undefined;
  const dataLength = bytes.readUInt16BE(at + 8);
  const dataAt = at + 10;
  if (dataAt + dataLength > bytes.length) return undefined;
  // a TTL with the highest bit set is to be taken for zero (RFC 2181 §8)
  const ttl = bytes.readInt32BE(at + 4);
  const [type, klass] = [bytes.readUInt16BE(at), bytes.readUInt16BE(at + 2)];
  return { section, owner, type, class: klass, ttl: Math.max(0, ttl), ttlAt: at + 4, dataAt, dataLength };
}

/** First byte behind a name. */
function skipName(bytes: Buffer, from: number): number | undefined {
  for (let at = from; ; ) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2 > bytes.length ? undefined : at + 2;
    if (length > 63) return undefined;
    at += length + 1;
  }
}

/** A name as uncompressed bytes, and the first byte behind it where it stood. Undefined: malformed. */
export function readName(bytes: Buffer, from: number): { readonly name: Buffer; readonly end: number } | undefined {
  const parts: Buffer[] = [];
  let size = 0;
  let end: number | undefined;
  let at = from;
  /** A pointer must lead to before all that has been read: so no chain of them is a loop (RFC 1035 §4.1.4). */
  let floor = from;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0) {
      if (at + 2 > bytes.length) return undefined;
      const target = bytes.readUInt16BE(at) & 0x3fff;
      end ??= at + 2;
      if (target >= floor || target < headerBytes) return undefined;
      floor = target;
      at = target;
      continue;
    }
    if (length > 63 || at + 1 + length > bytes.length) return undefined;
    parts.push(bytes.subarray(at, at + 1 + length));
    size += 1 + length;
    if (size > 255) return undefined;
    at += 1 + length;
    if (length === 0) return { name: Buffer.concat(parts), end: end ?? at };
  }
}

/** The wire form of a name; undefined: a label is empty or longer than 63, or the whole longer than 255 (RFC 1035 §3.1). */
export function writeName(name: string): Buffer | undefined {
  if (name === "") return Buffer.from([0]);
  const parts: Buffer[] = [];
  for (const label of name.split(".")) {
    const bytes = Buffer.from(label, "latin1");
    if (bytes.length === 0 || bytes.length > 63) return undefined;
    parts.push(Buffer.from([bytes.length]), bytes);
  }
  parts.push(Buffer.from([0]));
  const all = Buffer.concat(parts);
  return all.length > 255 ? undefined : all;
}

/** ASCII without space and control characters: other labels are nobody's search domain. */
export function isPrintable(text: string): boolean {
  return /^[!-~]*$/.test(text);
}

/** Only ASCII letters have cases in DNS (RFC 4343). */
export function lowerCase(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

export function optOf(message: Message): ResourceRecord | undefined {
  return message.records.find(({ section, type }) => section === 2 && type === recordType.opt);
}

/** How large an answer over UDP may be. Bytes. */
export function udpLimitOf(message: Message): number {
  return Math.max(plainUdpBytes, optOf(message)?.class ?? 0);
}

/** What, beside the question, makes a difference for the answer: EDNS or not, DNSSEC wanted, checking disabled, recursion desired. */
export function wantsOf(message: Message): string {
  const opt = optOf(message);
  const dnssec = opt === undefined ? "-" : message.bytes.readUInt8(opt.ttlAt + 2) >> 7;
  return `${dnssec}${message.bytes.readUInt8(3) & 0x10}${message.bytes.readUInt8(2) & 1}`;
}
