/** What comes in on a connection, frame by frame (RFC 9113 §4 and §6). Faults of the peer end its connection, never more. */
import { spend } from "./budget.js";
import { bother, isIdle, takeGoAway, takePing, takeSettings, takeWindowUpdate } from "./control-frames.js";
import { type ConnectionFault, connectionFault, defaultFrameBytes, Flag, Frame, frameHead, preface, Reset } from "./frames.js";
import {
  breakOff,
  closeSession,
  connectionWindow,
  maxBacklog,
  type Session,
  type Stream,
  sendGreeting,
  sendWindowUpdate,
  streamWindow,
} from "./session.js";
import { watchSilence } from "./silence.js";
import { createStream, endRemote, forget, sendReset } from "./streams.js";

/** Longest header block on the wire, and frames that it may come in. */
const maxBlockBytes = 64 * 1024;
const maxBlockFrames = 32;

/** Begins to listen and to speak. */
export function startSession(session: Session): void {
  const { socket } = session.options;
  sendGreeting(session);
  socket.on("data", (chunk: Buffer) => feed(session, chunk));
  socket.on("drain", () => drained(session));
  socket.on("error", () => socket.destroy());
  socket.once("end", () => {
    closeSession(session, "the other end has closed the connection");
    if (!socket.writableEnded) socket.end();
  });
  socket.once("close", () => closeSession(session, "the connection is lost"));
  watchSilence(session);
}

function feed(session: Session, chunk: Buffer): void {
  if (session.closed) return;
  session.heardMs = performance.now();
  session.askedMs = undefined;
  try {
    parse(session, session.rest === undefined ? chunk : Buffer.concat([session.rest, chunk]));
  } catch (error) {
    const { reset = Reset.INTERNAL_ERROR } = error as Partial<ConnectionFault>;
    breakOff(session, reset, (error as Error).message);
    return;
  }
  const { socket } = session.options;
  if (session.server && socket.writableLength > maxBacklog) socket.pause();
}

function parse(session: Session, bytes: Buffer): void {
  let at = 0;
  if (!session.greeted) {
    const enough = Math.min(bytes.length, preface.length);
    if (bytes.compare(preface, 0, enough, 0, enough) !== 0) throw connectionFault(Reset.PROTOCOL_ERROR, "this is not HTTP/2");
    if (enough === preface.length) {
      session.greeted = true;
      at = preface.length;
    }
  }
  while (session.greeted && bytes.length - at >= frameHead) {
    const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
    if (length > defaultFrameBytes) throw connectionFault(Reset.FRAME_SIZE_ERROR, `a frame of ${length} bytes`);
    const end = at + frameHead + length;
    if (end > bytes.length) break;
    const id = bytes.readUInt32BE(at + 5) & 0x7fffffff;
    take(session, bytes[at + 3] as number, bytes[at + 4] as number, id, bytes, at + frameHead, end);
    if (session.closed) return;
    at = end;
  }
  session.rest = at === bytes.length ? undefined : at === 0 ? bytes : bytes.subarray(at);
}

function take(session: Session, type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
  if (session.block !== undefined && (type !== Frame.CONTINUATION || id !== session.block.id)) {
    throw connectionFault(Reset.PROTOCOL_ERROR, "a header block is interrupted");
  }
  if (!session.settled && type !== Frame.SETTINGS) throw connectionFault(Reset.PROTOCOL_ERROR, "the first frame is not SETTINGS");
  switch (type) {
    case Frame.DATA:
      takeData(session, flags, id, bytes, start, end);
      break;
    case Frame.HEADERS:
      takeHeaders(session, flags, id, bytes, start, end);
      break;
    case Frame.CONTINUATION:
      takeContinuation(session, flags, bytes, start, end);
      break;
    case Frame.RST_STREAM:
      takeReset(session, id, bytes, start, end);
      break;
    case Frame.SETTINGS:
      takeSettings(session, flags, id, bytes, start, end);
      break;
    case Frame.PING:
      takePing(session, flags, id, bytes, start, end);
      break;
    case Frame.GOAWAY:
      takeGoAway(session, id, bytes, start, end);
      break;
    case Frame.WINDOW_UPDATE:
      takeWindowUpdate(session, id, bytes, start, end);
      break;
    case Frame.PUSH_PROMISE:
      throw connectionFault(Reset.PROTOCOL_ERROR, "a push nobody asked for");
    default:
      // PRIORITY, and kinds that we do not know (RFC 9113 §5.5)
      bother(session);
  }
}

function unpadded(flags: number, bytes: Buffer, start: number, end: number): [start: number, end: number] {
  if ((flags & Flag.PADDED) === 0) return [start, end];
  const padding = start < end ? (bytes[start] as number) : end;
  if (start + 1 + padding > end) throw connectionFault(Reset.PROTOCOL_ERROR, "more padding than frame");
  return [start + 1, end - padding];
}

function takeData(session: Session, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
  const length = end - start;
  session.receiveWindow -= length;
  if (session.receiveWindow < 0) throw connectionFault(Reset.FLOW_CONTROL_ERROR, "more data than the window lets through");
  session.unreturned += length;
  if (session.unreturned >= connectionWindow / 2) {
    sendWindowUpdate(session, 0, session.unreturned);
    session.receiveWindow += session.unreturned;
    session.unreturned = 0;
  }
  const stream = session.streams.get(id);
  if (stream === undefined || stream.remoteEnded) {
    if (id === 0 || isIdle(session, id)) throw connectionFault(Reset.PROTOCOL_ERROR, `data on stream ${id}`);
    // it was on its way when we ended the stream
    bother(session);
    return;
  }
  stream.receiveWindow -= length;
  if (stream.receiveWindow < 0) throw connectionFault(Reset.FLOW_CONTROL_ERROR, `more data than the window of stream ${id}`);
  stream.unreturned += length;
  const [from, to] = unpadded(flags, bytes, start, end);
  const last = (flags & Flag.END_STREAM) !== 0;
  if (to === from && !last) bother(session);
  if (last) stream.remoteEnded = true;
  stream.events.data(bytes.subarray(from, to), last);
  if (last && stream.open) endRemote(stream);
}

/** Gives what has been used back to the window of the other end. */
export function returnWindow(stream: Stream): void {
  if (stream.unreturned < streamWindow / 2 || stream.remoteEnded || !stream.open) return;
  sendWindowUpdate(stream.session, stream.id, stream.unreturned);
  stream.receiveWindow += stream.unreturned;
  stream.unreturned = 0;
}

function takeHeaders(session: Session, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
  let [from, to] = unpadded(flags, bytes, start, end);
  if ((flags & Flag.PRIORITY) !== 0) from += 5;
  if (from > to || id === 0) throw connectionFault(Reset.PROTOCOL_ERROR, "a HEADERS frame that is none");
  const last = (flags & Flag.END_STREAM) !== 0;
  if ((flags & Flag.END_HEADERS) !== 0) takeBlock(session, id, last, bytes, from, to);
  else session.block = { id, end: last, pieces: [bytes.subarray(from, to)], bytes: to - from };
}

function takeContinuation(session: Session, flags: number, bytes: Buffer, start: number, end: number): void {
  const { block } = session;
  if (block === undefined) throw connectionFault(Reset.PROTOCOL_ERROR, "a CONTINUATION of nothing");
  block.pieces.push(bytes.subarray(start, end));
  block.bytes += end - start;
  if (block.bytes > maxBlockBytes || block.pieces.length > maxBlockFrames) {
    throw connectionFault(Reset.ENHANCE_YOUR_CALM, "a header block above 64 KiB");
  }
  if ((flags & Flag.END_HEADERS) === 0) return;
  session.block = undefined;
  const whole = Buffer.concat(block.pieces);
  takeBlock(session, block.id, block.end, whole, 0, whole.length);
}

function takeBlock(session: Session, id: number, last: boolean, bytes: Buffer, start: number, end: number): void {
  // also when nobody wants it: the table of the other end counts on it
  const fields = session.decoder.decode(bytes, start, end);
  const stream = session.streams.get(id);
  if (stream !== undefined) {
    if (stream.remoteEnded) throw connectionFault(Reset.STREAM_CLOSED, `headers on stream ${id} after its end`);
    if (session.server && !last) throw connectionFault(Reset.PROTOCOL_ERROR, `headers in the middle of stream ${id}`);
    if (last) stream.remoteEnded = true;
    stream.events.headers(fields, last);
    if (last && stream.open) endRemote(stream);
    return;
  }
  if (!isIdle(session, id)) {
    bother(session);
    return;
  }
  if (!session.server || id % 2 === 0) throw connectionFault(Reset.PROTOCOL_ERROR, `headers on stream ${id}`);
  acceptStream(session, id, last, fields);
}

function acceptStream(session: Session, id: number, last: boolean, fields: readonly string[]): void {
  const { options } = session;
  session.highestId = id;
  if (session.leaving) {
    // above the id that our GOAWAY named: the other end knows that nobody looks at it
    bother(session);
    return;
  }
  session.lastId = id;
  if (session.streams.size >= options.maxStreams) {
    bother(session);
    sendReset(session, id, Reset.REFUSED_STREAM);
    return;
  }
  const stream = createStream(session, id);
  stream.remoteEnded = last;
  const events = options.accept?.(stream, fields);
  if (events === undefined) {
    if (stream.open) sendReset(session, id, Reset.REFUSED_STREAM);
    forget(stream);
    return;
  }
  stream.events = events;
  if (last && stream.open) {
    events.data(Buffer.alloc(0), true);
    if (stream.open) endRemote(stream);
  }
}

function takeReset(session: Session, id: number, bytes: Buffer, start: number, end: number): void {
  if (end - start !== 4) throw connectionFault(Reset.FRAME_SIZE_ERROR, "a RST_STREAM of another size");
  if (id === 0 || isIdle(session, id)) throw connectionFault(Reset.PROTOCOL_ERROR, `a reset of stream ${id}`);
  if (session.server && !spend(session.resets)) throw connectionFault(Reset.ENHANCE_YOUR_CALM, "too many cancelled calls");
  const reset = bytes.readUInt32BE(start);
  const stream = session.streams.get(id);
  if (stream === undefined) {
    // who has read the end of a stream does not reset it: our answer crossed a withdrawal, and was not taken
    const untaken = reset === Reset.CANCEL ? session.answered.get(id) : undefined;
    session.answered.delete(id);
    untaken?.();
    return;
  }
  forget(stream);
  stream.events.broken({ reset, unseen: reset === Reset.REFUSED_STREAM, text: `the stream was reset with code ${reset}` });
}

function drained(session: Session): void {
  session.output.congested = false;
  const { socket } = session.options;
  if (session.server && socket.isPaused() && !session.closed) socket.resume();
  for (const stream of [...session.streams.values()]) {
    if (stream.queue === undefined && stream.open) stream.events.drained();
  }
}
