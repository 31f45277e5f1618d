/** What a server says besides messages: headers and statuses. */
import { Code } from "../../status.js";
import { Reset } from "./frames.js";
import { checkHeader, encodeText } from "./grpc-text.js";
import type { Fields } from "./header-decoder.js";
import { beginBlock, type ConstantField, fieldBytes, statusOk, writeConstant, writeField } from "./header-encoder.js";
import type { Stream } from "./session.js";
import { resetStream, sendHeaders } from "./streams.js";

/** A status as it leaves: never more than the caller may know. */
export interface WireStatus {
  readonly code: number;
  readonly details: string;
  /** Further trailers. */
  readonly fields?: Fields | undefined;
}

const contentType: ConstantField = { name: "content-type", value: "application/grpc" };
const encodings: ConstantField = { name: "grpc-accept-encoding", value: "identity,deflate,gzip" };
const okStatus: ConstantField = { name: "grpc-status", value: "0" };
export const noFields: Fields = [];

/** Bytes of the fields that are always the same, spelled out. */
const constantBytes = 160;

export function sendResponseHeaders(stream: Stream, extra: Fields): void {
  const { encoder } = stream.session;
  sendHeaders(
    stream,
    constantBytes + sizeOf(extra),
    (buffer, at) => {
      let next = beginBlock(encoder, buffer, at);
      buffer[next] = statusOk;
      next = writeConstant(encoder, contentType, buffer, next + 1);
      return writeFields(extra, buffer, next);
    },
    false,
  );
}

/** @param answered  headers were sent; else this is all of the answer */
export function sendTrailers(stream: Stream, status: WireStatus | undefined, answered: boolean): void {
  const { encoder } = stream.session;
  const text = status === undefined ? "" : encodeText(status.details);
  const extra = status?.fields ?? noFields;
  sendHeaders(
    stream,
    constantBytes + text.length + sizeOf(extra),
    (buffer, at) => {
      let next = beginBlock(encoder, buffer, at);
      if (!answered) {
        buffer[next] = statusOk;
        next = writeConstant(encoder, contentType, buffer, next + 1);
      }
      if (status === undefined) return writeConstant(encoder, okStatus, buffer, next);
      next = writeField("grpc-status", String(status.code), buffer, next);
      if (text !== "") next = writeField("grpc-message", text, buffer, next);
      if (status.code === Code.UNIMPLEMENTED) next = writeConstant(encoder, encodings, buffer, next);
      return writeFields(extra, buffer, next);
    },
    true,
  );
}

function sizeOf(fields: Fields): number {
  let bytes = 0;
  for (let at = 0; at < fields.length; at += 2) bytes += fieldBytes(fields[at] as string, fields[at + 1] as string);
  return bytes;
}

function writeFields(fields: Fields, buffer: Buffer, at: number): number {
  let next = at;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    checkHeader(name, value);
    next = writeField(name, value, buffer, next);
  }
  return next;
}

/** Somebody who does not speak gRPC. */
export function answerStranger(stream: Stream): void {
  const { encoder } = stream.session;
  sendHeaders(stream, 64, (buffer, at) => writeField(":status", "415", buffer, beginBlock(encoder, buffer, at)), true);
  if (stream.open) resetStream(stream, Reset.NO_ERROR);
}
