/**
 * One HTTP/2 connection (RFC 9113), of a server or a client: its state, how it begins and how it ends.
 * Only what gRPC needs: no push, no priorities, no upgrade from HTTP/1.
 */
import type { Duplex } from "node:stream";
import { type Budget, createBudget } from "./budget.js";
import {
  defaultFrameBytes,
  defaultWindow,
  Flag,
  Frame,
  maxWindow,
  preface,
  Reset,
  Setting,
  writeHead,
  writeNumber,
} from "./frames.js";
import { createHeaderDecoder, type Fields, type HeaderDecoder } from "./header-decoder.js";
import { createHeaderEncoder, type HeaderEncoder } from "./header-encoder.js";
import { append, createOutput, flush, type Output, room } from "./output.js";

/** How a stream ended that did not end well. */
export interface StreamEnd {
  /** A number of `Reset`; undefined = the connection is gone. */
  readonly reset: number | undefined;
  /** The other end has said that it did not look at it (RFC 9113 §8.7). */
  readonly unseen: boolean;
  readonly text: string;
}

export interface StreamEvents {
  headers(fields: Fields, end: boolean): void;
  /** The bytes are a view of what has been read, good for as long as somebody holds it. */
  data(bytes: Buffer, end: boolean): void;
  /** Nothing comes afterwards. */
  broken(end: StreamEnd): void;
  /** What was written has left; more may be written. */
  drained(): void;
  /** The other end has begun a call long ago and not said all of it; absent = it may take its time. */
  readonly stalled?: (() => void) | undefined;
}

export interface Stream {
  readonly id: number;
  readonly session: Session;
  events: StreamEvents;
  sendWindow: number;
  receiveWindow: number;
  /** Received, and not yet given back to the other end's window. */
  unreturned: number;
  /** Messages that wait for window, oldest first; undefined = none. */
  queue: Buffer[] | undefined;
  /** To be called when `queue` is empty: writes the end. */
  last: (() => void) | undefined;
  remoteEnded: boolean;
  localEnded: boolean;
  /** In the table of its session. */
  open: boolean;
  /** Looks of silence.ts since it began with the other end still speaking. */
  looks: number;
}

export interface SessionOptions {
  readonly socket: Duplex;
  readonly server: boolean;
  /** Streams that the other end may have open; 0 for clients. */
  readonly maxStreams: number;
  /** A new stream of the other end; undefined = refused. */
  readonly accept?: ((stream: Stream, fields: Fields) => StreamEvents | undefined) | undefined;
  /** The other end has spoken. */
  readonly ready?: (() => void) | undefined;
  /** No new streams on this one. */
  readonly leaving?: (() => void) | undefined;
  readonly closed?: (() => void) | undefined;
  /** Silence after which the other end is asked whether it is there, in milliseconds, and time for its answer. */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
}

export interface Session {
  readonly options: SessionOptions;
  readonly server: boolean;
  readonly output: Output;
  readonly decoder: HeaderDecoder;
  readonly encoder: HeaderEncoder;
  readonly streams: Map<number, Stream>;
  /** Streams with something to send and no window. */
  readonly blocked: Set<Stream>;
  /** The newest calls that were answered: what to do when their caller turns out not to have taken the answer, by stream. */
  readonly answered: Map<number, () => void>;
  readonly nuisances: Budget;
  readonly resets: Budget;
  /** Bytes of a frame that has not come whole. */
  rest: Buffer | undefined;
  greeted: boolean;
  /** A header block that goes on in the next frame. */
  block: { readonly id: number; readonly end: boolean; readonly pieces: Buffer[]; bytes: number } | undefined;
  settled: boolean;
  sendWindow: number;
  receiveWindow: number;
  unreturned: number;
  peerWindow: number;
  peerFrameBytes: number;
  peerMaxStreams: number;
  lastId: number;
  /** Newest stream that the other end has opened, those that came after our GOAWAY included: frames of them are still to come. */
  highestId: number;
  nextId: number;
  /** GOAWAY was sent or has come: no new streams. */
  leaving: boolean;
  closed: boolean;
  heardMs: number;
  askedMs: number | undefined;
}

/** Window of each stream of others; a message up to this size never waits for us. */
export const streamWindow = 256 * 1024;
export const connectionWindow = 4 * 1024 * 1024;
/** Unread answers that a peer may leave with us before we stop listening to it, in bytes. */
export const maxBacklog = 4 * 1024 * 1024;

export function createSession(options: SessionOptions): Session {
  const { socket, server } = options;
  return {
    options,
    server,
    output: createOutput(socket),
    decoder: createHeaderDecoder(),
    encoder: createHeaderEncoder(),
    streams: new Map(),
    blocked: new Set(),
    answered: new Map(),
    nuisances: createBudget(10_000, 1000),
    resets: createBudget(1000, 33),
    rest: undefined,
    greeted: !server,
    block: undefined,
    settled: false,
    sendWindow: defaultWindow,
    receiveWindow: connectionWindow,
    unreturned: 0,
    peerWindow: defaultWindow,
    peerFrameBytes: defaultFrameBytes,
    peerMaxStreams: Number.POSITIVE_INFINITY,
    lastId: 0,
    highestId: 0,
    nextId: 1,
    leaving: false,
    closed: false,
    heardMs: performance.now(),
    askedMs: undefined,
  };
}

/** Answers that may be on their way on one connection while a withdrawal comes towards them. */
const maxAnswered = 256;

/** A withdrawal of this stream, which is over for us, is not lost. */
export function noteAnswered({ id, session: { answered } }: Stream, untaken: () => void): void {
  if (answered.size >= maxAnswered) for (const oldest of answered.keys()) if (answered.delete(oldest)) break;
  answered.set(id, untaken);
}

/** The first bytes of our side. */
export function sendGreeting(session: Session): void {
  const { output, options } = session;
  if (!session.server) append(output, preface);
  const settings: readonly (readonly [number, number])[] = session.server
    ? [
        [Setting.MAX_CONCURRENT_STREAMS, options.maxStreams],
        [Setting.INITIAL_WINDOW_SIZE, streamWindow],
        [Setting.MAX_HEADER_LIST_SIZE, 64 * 1024],
      ]
    : [
        [Setting.ENABLE_PUSH, 0],
        [Setting.INITIAL_WINDOW_SIZE, streamWindow],
      ];
  const buffer = room(output, 64);
  let at = writeHead(buffer, output.used, settings.length * 6, Frame.SETTINGS, 0, 0);
  for (const [setting, value] of settings) {
    buffer[at] = 0;
    buffer[at + 1] = setting;
    at = writeNumber(buffer, at + 2, value);
  }
  output.used = at;
  sendWindowUpdate(session, 0, connectionWindow - defaultWindow);
  flush(output);
}

export function sendWindowUpdate(session: Session, id: number, bytes: number): void {
  if (bytes <= 0 || bytes > maxWindow) return;
  const buffer = room(session.output, 13);
  const at = writeHead(buffer, session.output.used, 4, Frame.WINDOW_UPDATE, 0, id);
  session.output.used = writeNumber(buffer, at, bytes);
}

export function sendPing(session: Session, payload: Buffer | undefined): void {
  const buffer = room(session.output, 17);
  const at = writeHead(buffer, session.output.used, 8, Frame.PING, payload === undefined ? 0 : Flag.ACK, 0);
  if (payload === undefined) buffer.fill(0, at, at + 8);
  else buffer.set(payload, at);
  session.output.used = at + 8;
}

function sendGoAway(session: Session, reset: number): void {
  const buffer = room(session.output, 17);
  let at = writeHead(buffer, session.output.used, 8, Frame.GOAWAY, 0, 0);
  at = writeNumber(buffer, at, session.lastId);
  session.output.used = writeNumber(buffer, at, reset);
}

/** Asks the other end to go: no new streams, those that are open go on to their end. */
export function leave(session: Session): void {
  if (session.closed) return;
  if (!session.leaving) {
    session.leaving = true;
    sendGoAway(session, Reset.NO_ERROR);
  }
  closeWhenDone(session);
}

export function closeWhenDone(session: Session): void {
  if (!session.leaving || session.streams.size > 0 || session.closed) return;
  flush(session.output);
  session.options.socket.end();
}

/** The other end has broken the protocol, or we give it up: everything on this connection ends. */
export function breakOff(session: Session, reset: number, text: string): void {
  if (session.closed) return;
  const { socket } = session.options;
  sendGoAway(session, reset);
  flush(session.output);
  closeSession(session, text);
  socket.end();
  // what else it sends is nothing to us, but a socket that is not read never sees its end
  socket.resume();
  setTimeout(() => socket.destroy(), 500).unref();
}

/** The connection is gone. */
export function closeSession(session: Session, text: string): void {
  if (session.closed) return;
  session.closed = true;
  session.leaving = true;
  session.rest = undefined;
  session.block = undefined;
  session.blocked.clear();
  const open = [...session.streams.values()];
  session.streams.clear();
  for (const stream of open) {
    stream.open = false;
    stream.queue = undefined;
    stream.events.broken({ reset: undefined, unseen: false, text });
  }
  session.options.closed?.();
}
