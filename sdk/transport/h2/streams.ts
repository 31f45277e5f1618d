/** Streams: how they are opened and what is sent on them, within the windows of the other end (RFC 9113 §5). */
import { Flag, Frame, Reset, writeHead, writeNumber } from "./frames.js";
import { append, maxRoom, room } from "./output.js";
import { closeWhenDone, type Session, type Stream, type StreamEvents, streamWindow } from "./session.js";

/** Writes a header block into a buffer and gives the offset behind it. */
export type WriteBlock = (buffer: Buffer, at: number) => number;

const idle: StreamEvents = { headers() {}, data() {}, broken() {}, drained() {} };

export function createStream(session: Session, id: number): Stream {
  const stream: Stream = {
    id,
    session,
    events: idle,
    sendWindow: session.peerWindow,
    receiveWindow: streamWindow,
    unreturned: 0,
    queue: undefined,
    last: undefined,
    remoteEnded: false,
    localEnded: false,
    open: true,
    looks: 0,
  };
  session.streams.set(id, stream);
  return stream;
}

/**
 * @param bytes  what the block takes at most
 * @param end    nothing follows from us
 */
export function sendHeaders(stream: Stream, bytes: number, write: WriteBlock, end: boolean): void {
  if (!stream.open || stream.localEnded) return;
  const { output } = stream.session;
  if (bytes + 9 <= maxRoom) {
    const buffer = room(output, bytes + 9);
    const start = output.used;
    const stop = write(buffer, start + 9);
    const flags = Flag.END_HEADERS | (end ? Flag.END_STREAM : 0);
    writeHead(buffer, start, stop - start - 9, Frame.HEADERS, flags, stream.id);
    output.used = stop;
  } else sendLongHeaders(stream, bytes, write, end);
  if (end) endLocal(stream);
}

function sendLongHeaders(stream: Stream, bytes: number, write: WriteBlock, end: boolean): void {
  const { output, peerFrameBytes } = stream.session;
  const block = Buffer.allocUnsafeSlow(bytes);
  const length = write(block, 0);
  for (let at = 0; at < length; at += peerFrameBytes) {
    const stop = Math.min(length, at + peerFrameBytes);
    const head = Buffer.allocUnsafe(9);
    const flags = (stop === length ? Flag.END_HEADERS : 0) | (end && at === 0 ? Flag.END_STREAM : 0);
    writeHead(head, 0, stop - at, at === 0 ? Frame.HEADERS : Frame.CONTINUATION, flags, stream.id);
    append(output, head);
    append(output, block.subarray(at, stop));
  }
}

/** Bytes before each message: whether it is compressed, and its length (gRPC over HTTP/2). */
export const messageHead = 5;

/**
 * Sends one gRPC message, or keeps it until the other end makes room.
 * @param end  nothing follows from us
 * @returns false: wait for `drained` before the next one
 */
export function sendMessage(stream: Stream, message: Uint8Array, end: boolean): boolean {
  const { session } = stream;
  if (!stream.open || stream.localEnded) return true;
  const length = messageHead + message.length;
  const fits = stream.queue === undefined && length <= stream.sendWindow && length <= session.sendWindow;
  if (fits && length <= session.peerFrameBytes) {
    const { output } = session;
    const whole = length + 9 <= maxRoom;
    const buffer = room(output, whole ? length + 9 : 14);
    let at = writeHead(buffer, output.used, length, Frame.DATA, end ? Flag.END_STREAM : 0, stream.id);
    buffer[at] = 0;
    at = writeNumber(buffer, at + 1, message.length);
    if (whole) {
      buffer.set(message, at);
      output.used = at + message.length;
    } else {
      output.used = at;
      append(output, message);
    }
    stream.sendWindow -= length;
    session.sendWindow -= length;
    if (end) endLocal(stream);
  } else {
    const head = Buffer.allocUnsafe(messageHead);
    head[0] = 0;
    writeNumber(head, 1, message.length);
    if (stream.queue === undefined) stream.queue = [head];
    else stream.queue.push(head);
    stream.queue.push(message as Buffer);
    if (end) stream.last = () => sendData(stream, Buffer.alloc(0), true);
    pump(stream);
  }
  return stream.queue === undefined && !session.output.congested;
}

/** Ends our side when all that waits has been sent; `write` puts the end on the wire. */
export function endAfter(stream: Stream, write: () => void): void {
  if (stream.queue === undefined) write();
  else stream.last = write;
}

/** Sends what the windows let through. */
export function pump(stream: Stream): void {
  const { session, queue } = stream;
  if (queue === undefined || !stream.open) return;
  while (queue.length > 0) {
    const first = queue[0] as Buffer;
    const bytes = Math.min(first.length, stream.sendWindow, session.sendWindow, session.peerFrameBytes);
    if (bytes <= 0 && first.length > 0) {
      session.blocked.add(stream);
      return;
    }
    sendData(stream, bytes === first.length ? first : first.subarray(0, bytes), false);
    if (bytes === first.length) queue.shift();
    else queue[0] = first.subarray(bytes);
  }
  stream.queue = undefined;
  session.blocked.delete(stream);
  const { last } = stream;
  stream.last = undefined;
  if (last !== undefined) last();
  else if (!session.output.congested) stream.events.drained();
}

function sendData(stream: Stream, bytes: Buffer, end: boolean): void {
  const { session } = stream;
  const buffer = room(session.output, 9);
  session.output.used = writeHead(buffer, session.output.used, bytes.length, Frame.DATA, end ? Flag.END_STREAM : 0, stream.id);
  append(session.output, bytes);
  stream.sendWindow -= bytes.length;
  session.sendWindow -= bytes.length;
  if (end) endLocal(stream);
}

function endLocal(stream: Stream): void {
  stream.localEnded = true;
  if (stream.remoteEnded) forget(stream);
}

export function endRemote(stream: Stream): void {
  stream.remoteEnded = true;
  if (stream.localEnded) forget(stream);
}

/** Ends a stream from our side, whatever is in progress on it; its events hear nothing of it. */
export function resetStream(stream: Stream, code: number): void {
  if (!stream.open) return;
  sendReset(stream.session, stream.id, code);
  forget(stream);
}

export function sendReset(session: Session, id: number, code: number): void {
  const buffer = room(session.output, 13);
  const at = writeHead(buffer, session.output.used, 4, Frame.RST_STREAM, 0, id);
  session.output.used = writeNumber(buffer, at, code);
}

/** Our side has said all; a caller that still speaks is asked to stop (RFC 9113 §8.1). */
export function stopListening(stream: Stream): void {
  if (stream.open && stream.localEnded && !stream.remoteEnded) resetStream(stream, Reset.NO_ERROR);
}

export function forget(stream: Stream): void {
  if (!stream.open) return;
  stream.open = false;
  stream.queue = undefined;
  stream.last = undefined;
  const { session } = stream;
  session.streams.delete(stream.id);
  session.blocked.delete(stream);
  if (session.leaving) closeWhenDone(session);
}
