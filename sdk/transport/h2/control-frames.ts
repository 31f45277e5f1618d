/** Frames that are about the connection, not about a call (RFC 9113 §6.5 to §6.9). */
import { spend } from "./budget.js";
import { connectionFault, defaultFrameBytes, Flag, Frame, maxWindow, Reset, Setting, writeHead } from "./frames.js";
import { limitTable } from "./header-encoder.js";
import { flush, room } from "./output.js";
import { closeWhenDone, type Session, sendPing } from "./session.js";
import { forget, pump } from "./streams.js";

/** Counts a frame that brings nobody anything. */
export function bother(session: Session): void {
  if (!spend(session.nuisances)) throw connectionFault(Reset.ENHANCE_YOUR_CALM, "too many frames without use");
}

/** Whether no stream of this number has ever been. */
export function isIdle(session: Session, id: number): boolean {
  return session.server ? id % 2 === 0 || id > session.highestId : id % 2 === 0 || id >= session.nextId;
}

export function takeSettings(session: Session, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
  const length = end - start;
  if (id !== 0) throw connectionFault(Reset.PROTOCOL_ERROR, "SETTINGS of a stream");
  if ((flags & Flag.ACK) !== 0) {
    if (length !== 0) throw connectionFault(Reset.FRAME_SIZE_ERROR, "an acknowledgement with settings");
    bother(session);
    return;
  }
  if (length % 6 !== 0) throw connectionFault(Reset.FRAME_SIZE_ERROR, "SETTINGS of another size");
  for (let at = start; at < end; at += 6) applySetting(session, bytes.readUInt16BE(at), bytes.readUInt32BE(at + 2));
  const first = !session.settled;
  session.settled = true;
  if (!first) bother(session);
  const { output } = session;
  output.used = writeHead(room(output, 9), output.used, 0, Frame.SETTINGS, Flag.ACK, 0);
  if (first) {
    flush(output);
    session.options.ready?.();
  }
  for (const stream of [...session.blocked]) pump(stream);
}

function applySetting(session: Session, setting: number, value: number): void {
  if (setting === Setting.HEADER_TABLE_SIZE) limitTable(session.encoder, value);
  else if (setting === Setting.MAX_CONCURRENT_STREAMS) session.peerMaxStreams = value;
  else if (setting === Setting.INITIAL_WINDOW_SIZE) {
    if (value > maxWindow) throw connectionFault(Reset.FLOW_CONTROL_ERROR, "a window above 2 GiB");
    for (const stream of session.streams.values()) stream.sendWindow += value - session.peerWindow;
    session.peerWindow = value;
  } else if (setting === Setting.MAX_FRAME_SIZE) {
    if (value < defaultFrameBytes || value >= 2 ** 24) throw connectionFault(Reset.PROTOCOL_ERROR, "a frame size out of range");
    // larger frames would only be copied more often
    session.peerFrameBytes = Math.min(value, 64 * 1024);
  }
}

export function takePing(session: Session, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
  if (id !== 0) throw connectionFault(Reset.PROTOCOL_ERROR, "a PING of a stream");
  if (end - start !== 8) throw connectionFault(Reset.FRAME_SIZE_ERROR, "a PING of another size");
  if ((flags & Flag.ACK) !== 0) return;
  bother(session);
  sendPing(session, bytes.subarray(start, end));
}

export function takeGoAway(session: Session, id: number, bytes: Buffer, start: number, end: number): void {
  if (id !== 0) throw connectionFault(Reset.PROTOCOL_ERROR, "a GOAWAY of a stream");
  if (end - start < 8) throw connectionFault(Reset.FRAME_SIZE_ERROR, "a GOAWAY of another size");
  const last = bytes.readUInt32BE(start) & 0x7fffffff;
  const first = !session.leaving;
  session.leaving = true;
  if (first) session.options.leaving?.();
  if (!session.server) {
    for (const stream of [...session.streams.values()]) {
      if (stream.id <= last) continue;
      forget(stream);
      stream.events.broken({ reset: Reset.REFUSED_STREAM, unseen: true, text: "the server goes away" });
    }
  }
  closeWhenDone(session);
}

export function takeWindowUpdate(session: Session, id: number, bytes: Buffer, start: number, end: number): void {
  if (end - start !== 4) throw connectionFault(Reset.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of another size");
  const more = bytes.readUInt32BE(start) & 0x7fffffff;
  if (more === 0) throw connectionFault(Reset.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing");
  if (id === 0) {
    session.sendWindow += more;
    if (session.sendWindow > maxWindow) throw connectionFault(Reset.FLOW_CONTROL_ERROR, "a window above 2 GiB");
    for (const stream of [...session.blocked]) pump(stream);
    return;
  }
  const stream = session.streams.get(id);
  if (stream === undefined) {
    if (isIdle(session, id)) throw connectionFault(Reset.PROTOCOL_ERROR, `a window of stream ${id}`);
    return;
  }
  stream.sendWindow += more;
  if (stream.sendWindow > maxWindow) throw connectionFault(Reset.FLOW_CONTROL_ERROR, "a window above 2 GiB");
  pump(stream);
}
