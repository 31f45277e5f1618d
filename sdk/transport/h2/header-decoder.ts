/** HPACK, the receiving side (RFC 7541): a header block becomes names and values. */
import { connectionFault, Reset } from "./frames.js";
import { decodeHuffman } from "./huffman.js";
import { staticTable } from "./static-table.js";

/** Names and values in turn: name, value, name, value, … */
export type Fields = readonly string[];

export interface HeaderDecoder {
  /** @throws ConnectionFault the block is no header block, or is larger than we take */
  decode(bytes: Buffer, start: number, end: number): Fields;
}

/** Size of the dynamic table that we let others use, in bytes (the default of RFC 7541). */
const maxTableBytes = 4096;
/** What an entry counts beside its text (RFC 7541 §4.1), in bytes. */
const entryOverhead = 32;
/** Bounds of one block: names and values together, and pairs. */
const maxListBytes = 64 * 1024;
const maxFields = 128;

export function createHeaderDecoder(): HeaderDecoder {
  /** Oldest first. */
  const table: [name: string, value: string][] = [];
  let tableBytes = 0;
  let limit = maxTableBytes;
  let bytes: Buffer = Buffer.alloc(0);
  let at = 0;
  let end = 0;

  function number(prefixBits: number): number {
    const max = (1 << prefixBits) - 1;
    let value = (bytes[at++] as number) & max;
    if (value < max) return value;
    for (let shift = 0; ; shift += 7) {
      if (at >= end || shift > 21) throw broken("a number is cut off or too large");
      const byte = bytes[at++] as number;
      value += (byte & 127) << shift;
      if (byte < 128) return value;
    }
  }

  function text(): string {
    if (at >= end) throw broken("it is cut off");
    const coded = (bytes[at] as number) >= 128;
    const length = number(7);
    if (length > end - at) throw broken("it is cut off");
    const start = at;
    at += length;
    return coded ? decodeHuffman(bytes, start, at) : bytes.toString("latin1", start, at);
  }

  function entry(index: number): readonly [string, string] {
    const found = index < staticTable.length ? staticTable[index] : table[table.length - 1 - (index - staticTable.length)];
    if (index === 0 || found === undefined) throw broken(`there is no entry ${index}`);
    return found;
  }

  function evict(): void {
    while (tableBytes > limit) {
      const [name, value] = table.shift() as [string, string];
      tableBytes -= name.length + value.length + entryOverhead;
    }
  }

  function remember(name: string, value: string): void {
    table.push([name, value]);
    tableBytes += name.length + value.length + entryOverhead;
    evict();
  }

  function resize(): void {
    limit = number(5);
    if (limit > maxTableBytes) throw broken("the table is larger than allowed");
    evict();
  }

  /** A field that is spelled out; its name may be one of the table. */
  function literal(prefixBits: number): [string, string] {
    const index = number(prefixBits);
    const name = index === 0 ? text() : entry(index)[0];
    return [name, text()];
  }

  return {
    decode(block, start, stop) {
      bytes = block;
      at = start;
      end = stop;
      const fields: string[] = [];
      let size = 0;
      while (at < end) {
        const first = bytes[at] as number;
        let field: readonly [string, string];
        if (first >= 128) field = entry(number(7));
        else if (first >= 64) {
          field = literal(6);
          remember(field[0], field[1]);
        } else if (first >= 32) {
          if (fields.length > 0) throw broken("the table changes its size in the middle");
          resize();
          continue;
        } else field = literal(4);
        fields.push(field[0], field[1]);
        size += field[0].length + field[1].length;
        if (size > maxListBytes || fields.length > 2 * maxFields) throw broken("it is larger than 64 KiB or 128 fields");
      }
      bytes = Buffer.alloc(0);
      return fields;
    },
  };
}

/** The first value of a field; undefined = it is not there. */
export function fieldOf(fields: Fields, name: string): string | undefined {
  for (let at = 0; at < fields.length; at += 2) if (fields[at] === name) return fields[at + 1];
  return undefined;
}

function broken(why: string): Error {
  return connectionFault(Reset.COMPRESSION_ERROR, `a header block: ${why}`);
}
