/**
 * Encoding and decoding of messages of VPP's binary API from their definitions: all integers big-endian and packed, except
 * f64, which is in the host's order.
 */

/** `length`: a number = that many; a name = as many as the field of that name says; undefined = one. */
export interface Field {
  readonly name: string;
  readonly type: string;
  readonly length: number | string | undefined;
}

export interface Message {
  readonly name: string;
  /** 8 hexadecimal digits. */
  readonly crc: string;
  /** Without the message id, which comes first in every message. */
  readonly fields: readonly Field[];
}

export interface Definitions {
  readonly types: ReadonlyMap<string, readonly Field[]>;
  /** By "name_crc". */
  readonly messages: ReadonlyMap<string, Message>;
}

export type Value = number | bigint | boolean | string | Uint8Array | Values | readonly Value[];
export interface Values {
  readonly [name: string]: Value;
}

export interface MessageCodec {
  readonly name: string;
  /** Fields that are missing are zero. @throws Error a field has the wrong kind of value */
  encode(id: number, values: Values): Buffer;
  /** @throws Error the message is shorter than it says */
  decode(bytes: Buffer): Values;
}

interface Scalar {
  readonly bytes: number;
  write(to: Buffer, value: Value | undefined, at: number): void;
  read(from: Buffer, at: number): Value;
}

const number = (value: Value | undefined): number => {
  if (value === undefined) return 0;
  if (typeof value !== "number") throw new TypeError(`${String(value)} is no number`);
  return value;
};

const scalars: ReadonlyMap<string, Scalar> = new Map<string, Scalar>([
  ["u8", { bytes: 1, write: (to, value, at) => void to.writeUInt8(number(value), at), read: (from, at) => from.readUInt8(at) }],
  ["i8", { bytes: 1, write: (to, value, at) => void to.writeInt8(number(value), at), read: (from, at) => from.readInt8(at) }],
  [
    "u16",
    { bytes: 2, write: (to, value, at) => void to.writeUInt16BE(number(value), at), read: (from, at) => from.readUInt16BE(at) },
  ],
  [
    "i16",
    { bytes: 2, write: (to, value, at) => void to.writeInt16BE(number(value), at), read: (from, at) => from.readInt16BE(at) },
  ],
  [
    "u32",
    { bytes: 4, write: (to, value, at) => void to.writeUInt32BE(number(value), at), read: (from, at) => from.readUInt32BE(at) },
  ],
  [
    "i32",
    { bytes: 4, write: (to, value, at) => void to.writeInt32BE(number(value), at), read: (from, at) => from.readInt32BE(at) },
  ],
  [
    "u64",
    {
      bytes: 8,
      write: (to, value, at) => void to.writeBigUInt64BE(BigInt((value ?? 0) as bigint), at),
      read: (from, at) => from.readBigUInt64BE(at),
    },
  ],
  [
    "i64",
    {
      bytes: 8,
      write: (to, value, at) => void to.writeBigInt64BE(BigInt((value ?? 0) as bigint), at),
      read: (from, at) => from.readBigInt64BE(at),
    },
  ],
  [
    "f64",
    { bytes: 8, write: (to, value, at) => void to.writeDoubleLE(number(value), at), read: (from, at) => from.readDoubleLE(at) },
  ],
  [
    "bool",
    {
      bytes: 1,
      write: (to, value, at) => void to.writeUInt8(value === true ? 1 : 0, at),
      read: (from, at) => from.readUInt8(at) !== 0,
    },
  ],
]);

/** Where an encoder writes; grown as needed and copied from at the end. */
interface Writer {
  buffer: Buffer;
  at: number;
}
interface Reader {
  readonly buffer: Buffer;
  at: number;
}
interface FieldCodec {
  readonly name: string;
  write(to: Writer, value: Value | undefined, all: Values): void;
  read(from: Reader, before: Values): Value;
}

/** One writer for all: encoding is synchronous. */
const scratch: Writer = { buffer: Buffer.alloc(4096), at: 0 };

/** @throws Error when the definitions lack a type that the message has */
export function compileMessage(message: Message, types: Definitions["types"]): MessageCodec {
  const fields = message.fields.map((field) => compileField(field, types, 0));
  const known = new Set(message.fields.map(({ name }) => name));
  return {
    name: message.name,
    encode(id, values) {
      for (const name of Object.keys(values)) if (!known.has(name)) throw new TypeError(`${message.name} has no field ${name}`);
      scratch.at = 0;
      room(scratch, 2);
      scratch.buffer.writeUInt16BE(id, 0);
      scratch.at = 2;
      writeAll(fields, scratch, values);
      return Buffer.from(scratch.buffer.subarray(0, scratch.at));
    },
    decode: (bytes) => readAll(fields, { buffer: bytes, at: 2 }),
  };
}

/** Deeper than any definition; a type that contains itself ends here. */
const maxDepth = 16;

function compileField({ name, type, length }: Field, types: Definitions["types"], depth: number): FieldCodec {
  if (depth > maxDepth) throw new Error(`type ${type} contains itself`);
  if (type === "string") return typeof length === "number" && length > 0 ? paddedString(name, length) : countedString(name);
  const isBytes = type === "u8" && length !== undefined;
  if (isBytes) return bytesField(name, length);
  const one = compileOne(name, type, types, depth);
  return length === undefined ? one : arrayField(one, length);
}

function compileOne(name: string, type: string, types: Definitions["types"], depth: number): FieldCodec {
  const scalar = scalars.get(type);
  if (scalar !== undefined) {
    const { bytes, write, read } = scalar;
    return {
      name,
      write(to, value) {
        room(to, bytes);
        write(to.buffer, value, to.at);
        to.at += bytes;
      },
      read: (from) => read(from.buffer, take(from, bytes)),
    };
  }
  const fields = types.get(type)?.map((field) => compileField(field, types, depth + 1));
  if (fields === undefined) throw new Error(`the type ${type} of field ${name} is not defined`);
  return {
    name,
    write: (to, value) => writeAll(fields, to, (value ?? {}) as Values),
    read: (from) => readAll(fields, from),
  };
}

function writeAll(fields: readonly FieldCodec[], to: Writer, values: Values): void {
  for (const field of fields) field.write(to, values[field.name], values);
}

function readAll(fields: readonly FieldCodec[], from: Reader): Values {
  const values: Record<string, Value> = {};
  for (const field of fields) values[field.name] = field.read(from, values);
  return values;
}

/** Several of one kind. What a counting field says is taken from the values, so it cannot disagree with the list. */
function arrayField(one: FieldCodec, length: number | string): FieldCodec {
  return {
    name: one.name,
    write(to, value, all) {
      const list = (value ?? []) as readonly Value[];
      if (typeof length === "string" && number(all[length]) !== list.length)
        throw new TypeError(`${one.name} has ${list.length} entries, and ${length} says ${String(all[length])}`);
      const count = typeof length === "number" ? length : list.length;
      if (list.length > count) throw new TypeError(`${one.name} has room for ${count}, not ${list.length}`);
      for (let index = 0; index < count; index++) one.write(to, list[index], {});
    },
    read(from, before) {
      const count = typeof length === "number" ? length : number(before[length]);
      const list: Value[] = [];
      for (let index = 0; index < count; index++) list.push(one.read(from, {}));
      return list;
    },
  };
}

function bytesField(name: string, length: number | string): FieldCodec {
  return {
    name,
    write(to, value, all) {
      const bytes = (value ?? new Uint8Array(0)) as Uint8Array;
      const count = typeof length === "number" ? length : number(all[length]);
      if (bytes.length > count) throw new TypeError(`${name} has room for ${count} bytes, not ${bytes.length}`);
      room(to, count);
      to.buffer.fill(0, to.at, to.at + count);
      to.buffer.set(bytes, to.at);
      to.at += count;
    },
    read(from, before) {
      const count = typeof length === "number" ? length : number(before[length]);
      const at = take(from, count);
      return Uint8Array.from(from.buffer.subarray(at, at + count));
    },
  };
}

function paddedString(name: string, length: number): FieldCodec {
  return {
    name,
    write(to, value) {
      const text = (value ?? "") as string;
      if (Buffer.byteLength(text) >= length) throw new TypeError(`${name} has room for ${length - 1} bytes: ${text}`);
      room(to, length);
      to.buffer.fill(0, to.at, to.at + length);
      to.buffer.write(text, to.at);
      to.at += length;
    },
    read(from) {
      const at = take(from, length);
      const end = from.buffer.indexOf(0, at);
      return from.buffer.toString("utf8", at, end >= at && end < at + length ? end : at + length);
    },
  };
}

function countedString(name: string): FieldCodec {
  return {
    name,
    write(to, value) {
      const text = Buffer.from((value ?? "") as string);
      room(to, 4 + text.length);
      to.buffer.writeUInt32BE(text.length, to.at);
      to.buffer.set(text, to.at + 4);
      to.at += 4 + text.length;
    },
    read(from) {
      const length = from.buffer.readUInt32BE(take(from, 4));
      const at = take(from, length);
      return from.buffer.toString("utf8", at, at + length).replace(/\0+$/, "");
    },
  };
}

function room(to: Writer, bytes: number): void {
  if (to.at + bytes <= to.buffer.length) return;
  const grown = Buffer.alloc(2 * (to.at + bytes));
  grown.set(to.buffer.subarray(0, to.at));
  to.buffer = grown;
}

function take(from: Reader, bytes: number): number {
  const { at } = from;
  if (at + bytes > from.buffer.length) throw new Error(`it ends after ${from.buffer.length} bytes, and more should follow`);
  from.at = at + bytes;
  return at;
}
