/**
 * HPACK, the sending side (RFC 7541). Fields that come again in every call enter the dynamic table once and cost a byte
 * afterwards; all others are spelled out, uncoded. Nothing is ever evicted: what does not fit is spelled out as well.
 */
import { staticTable } from "./static-table.js";

/** A field whose value does not change from call to call. Made once, known by identity. */
export interface ConstantField {
  readonly name: string;
  readonly value: string;
}

export interface HeaderEncoder {
  /** Entries of the dynamic table so far, each with its place; emptied when the peer wants a smaller table. */
  readonly places: Map<ConstantField, number>;
  tableBytes: number;
  /** Whether entries may be added. */
  growing: boolean;
  /** The next block has to begin with the news that the table is empty. */
  mustEmpty: boolean;
}

/** Kept below the 4096 that every peer must offer until it says otherwise. */
const maxTableBytes = 4000;
const entryOverhead = 32;

export const methodPost = 0x83;
export const schemeHttp = 0x86;
export const schemeHttps = 0x87;
export const statusOk = 0x88;

export function createHeaderEncoder(): HeaderEncoder {
  return { places: new Map(), tableBytes: 0, growing: true, mustEmpty: false };
}

/** The peer's HEADER_TABLE_SIZE: one that is smaller than the usual one is left unused. */
export function limitTable(encoder: HeaderEncoder, bytes: number): void {
  if (bytes >= 4096 || !encoder.growing) return;
  encoder.places.clear();
  encoder.growing = false;
  encoder.mustEmpty = true;
}

/** Bytes that a field may take at most. */
export function fieldBytes(name: string, value: string): number {
  return name.length + value.length + 16;
}

/** To be called at the start of each block; the offset behind what it wrote. */
export function beginBlock(encoder: HeaderEncoder, buffer: Buffer, at: number): number {
  if (!encoder.mustEmpty) return at;
  encoder.mustEmpty = false;
  buffer[at] = 0x20;
  return at + 1;
}

export function writeConstant(encoder: HeaderEncoder, field: ConstantField, buffer: Buffer, at: number): number {
  const place = encoder.places.get(field);
  if (place !== undefined) {
    return writeInteger(buffer, at, 0x80, 7, staticTable.length + encoder.places.size - 1 - place);
  }
  const bytes = field.name.length + field.value.length + entryOverhead;
  if (!encoder.growing || encoder.tableBytes + bytes > maxTableBytes) return writeField(field.name, field.value, buffer, at);
  encoder.tableBytes += bytes;
  encoder.places.set(field, encoder.places.size);
  buffer[at] = 0x40;
  return writeText(buffer, writeText(buffer, at + 1, field.name), field.value);
}

/** A field that is not remembered. The name must be in lower case, the value printable ASCII. */
export function writeField(name: string, value: string, buffer: Buffer, at: number): number {
  buffer[at] = 0;
  return writeText(buffer, writeText(buffer, at + 1, name), value);
}

function writeText(buffer: Buffer, at: number, text: string): number {
  const start = writeInteger(buffer, at, 0, 7, text.length);
  return start + buffer.write(text, start, "latin1");
}

function writeInteger(buffer: Buffer, at: number, mark: number, prefixBits: number, value: number): number {
  const max = (1 << prefixBits) - 1;
  if (value < max) {
    buffer[at] = mark | value;
    return at + 1;
  }
  buffer[at] = mark | max;
  let rest = value - max;
  let next = at + 1;
  for (; rest >= 128; rest >>>= 7) buffer[next++] = (rest & 127) | 128;
  buffer[next] = rest;
  return next + 1;
}
