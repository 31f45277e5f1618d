/**
 * Netlink messages and attributes as bytes (netlink(7), linux/netlink.h). Pure: no socket, no clock.
 * Numbers are in the byte order of the machine, little endian on every machine Node 20 is released for.
 */

/** A message to be sent; length and sequence number are filled in by `encodeMessages`. */
export interface OutgoingMessage {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

export interface IncomingMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Buffer;
}

/** The parts of NLMSG_ERROR: 0 is an acknowledgement, else a positive error number with the kernel's words, if any. */
export interface Acknowledgement {
  readonly errnoNumber: number;
  readonly text: string;
}

export const NLM_F_REQUEST = 0x1;
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_ROOT = 0x100;
export const NLM_F_MATCH = 0x200;
export const NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

const headerLength = 16;
const attributeHeaderLength = 4;
const NLA_F_NESTED = 0x8000;
/** NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags inside the type. */
const attributeTypeMask = 0x3fff;
const NLMSGERR_ATTR_MSG = 1;

/** What the kernel sent does not follow the format; the rest of the datagram is not usable. */
export function formatError(what: string): Error {
  return new Error(`netlink: ${what}`);
}

/** One datagram holding all messages, with sequence numbers from `firstSequence` up. */
export function encodeMessages(messages: readonly OutgoingMessage[], firstSequence: number): Buffer {
  let total = 0;
  for (const { body } of messages) total += align(headerLength + body.length);
  const datagram = Buffer.alloc(total);
  let offset = 0;
  messages.forEach(({ type, flags, body }, index) => {
    datagram.writeUInt32LE(headerLength + body.length, offset);
    datagram.writeUInt16LE(type, offset + 4);
    datagram.writeUInt16LE(flags, offset + 6);
    datagram.writeUInt32LE((firstSequence + index) >>> 0, offset + 8);
    datagram.set(body, offset + headerLength);
    offset += align(headerLength + body.length);
  });
  return datagram;
}

/**
 * The messages of one datagram. Bodies are views into it.
 * @throws Error when a length points outside
 */
export function decodeMessages(datagram: Buffer): IncomingMessage[] {
  const messages: IncomingMessage[] = [];
  let offset = 0;
  while (offset + headerLength <= datagram.length) {
    const length = datagram.readUInt32LE(offset);
    if (length < headerLength || offset + length > datagram.length) {
      throw formatError(`message of ${length} bytes at ${offset} in a datagram of ${datagram.length}`);
    }
    messages.push({
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      body: datagram.subarray(offset + headerLength, offset + length),
    });
    offset += align(length);
  }
  return messages;
}

/**
 * Reads the body of NLMSG_ERROR or of NLMSG_DONE.
 * @throws Error when it is too short
 */
export function decodeAcknowledgement(message: IncomingMessage): Acknowledgement {
  const { body, flags, type } = message;
  if (body.length < 4) {
    if (type === NLMSG_DONE) return { errnoNumber: 0, text: "" };
    throw formatError(`acknowledgement of ${body.length} bytes`);
  }
  const errnoNumber = Math.abs(body.readInt32LE(0));
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errnoNumber, text: "" };
  // The refused request follows its error number: whole, or only its header when capped. NLMSG_DONE carries none.
  let offset = 4;
  if (type === NLMSG_ERROR) {
    if (body.length < 4 + headerLength) return { errnoNumber, text: "" };
    offset += (flags & NLM_F_CAPPED) !== 0 ? headerLength : align(body.readUInt32LE(4));
  }
  if (offset > body.length) throw formatError(`acknowledgement repeats a request of ${offset} bytes in ${body.length}`);
  return { errnoNumber, text: readString(decodeAttributes(body, offset).get(NLMSGERR_ATTR_MSG)) };
}

/** One attribute with its padding. */
export function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(align(attributeHeaderLength + value.length));
  bytes.writeUInt16LE(attributeHeaderLength + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, attributeHeaderLength);
  return bytes;
}

/** An attribute that holds attributes. */
export function nested(type: number, ...attributes: readonly Uint8Array[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
}

export function u8(type: number, value: number): Buffer {
  return attribute(type, Uint8Array.of(value));
}

export function u16(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return attribute(type, bytes);
}

/** Sixteen bits in network byte order. */
export function be16(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return attribute(type, bytes);
}

export function u32(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return attribute(type, bytes);
}

/** A text with its closing zero. */
export function text(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`, "utf8"));
}

/**
 * The attributes from `offset` to the end, by type; a type that is repeated keeps its last value.
 * @throws Error when a length points outside
 */
export function decodeAttributes(bytes: Buffer, offset = 0): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  while (offset + attributeHeaderLength <= bytes.length) {
    const length = bytes.readUInt16LE(offset);
    if (length < attributeHeaderLength || offset + length > bytes.length) {
      throw formatError(`attribute of ${length} bytes at ${offset} in ${bytes.length}`);
    }
    attributes.set(
      bytes.readUInt16LE(offset + 2) & attributeTypeMask,
      bytes.subarray(offset + attributeHeaderLength, offset + length),
    );
    offset += align(length);
  }
  return attributes;
}

/**
 * The elements of a list, whose types mean nothing; absent is empty.
 * @throws Error when a length points outside
 */
export function decodeList(bytes: Buffer | undefined): Buffer[] {
  const elements: Buffer[] = [];
  for (let offset = 0; bytes !== undefined && offset + attributeHeaderLength <= bytes.length; ) {
    const length = bytes.readUInt16LE(offset);
    if (length < attributeHeaderLength || offset + length > bytes.length) {
      throw formatError(`list element of ${length} bytes at ${offset} in ${bytes.length}`);
    }
    elements.push(bytes.subarray(offset + attributeHeaderLength, offset + length));
    offset += align(length);
  }
  return elements;
}

/** Unsigned number of one, two, four bytes; undefined when absent or of another size. */
export function readUnsigned(value: Buffer | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (value.length === 4) return value.readUInt32LE();
  if (value.length === 2) return value.readUInt16LE();
  return value.length === 1 ? value[0] : undefined;
}

/** Text up to its closing zero; empty when absent. */
export function readString(value: Buffer | undefined): string {
  if (value === undefined) return "";
  const end = value.indexOf(0);
  return value.toString("utf8", 0, end < 0 ? value.length : end);
}

function align(length: number): number {
  return (length + 3) & ~3;
}
