/** gRPC over our HTTP/2, the side that asks: calls on one connection. */
import type { Duplex } from "node:stream";
import { Code } from "../../status.js";
import { statusOf, statusOfReset, strangeAnswer } from "./answer-status.js";
import { createAssembler } from "./assembler.js";
import { armDeadline, type Deadline, disarmDeadline } from "./deadlines.js";
import { Reset } from "./frames.js";
import { checkHeader, formatTimeout } from "./grpc-text.js";
import { type Fields, fieldOf } from "./header-decoder.js";
import {
  beginBlock,
  type ConstantField,
  fieldBytes,
  methodPost,
  schemeHttp,
  schemeHttps,
  writeConstant,
  writeField,
} from "./header-encoder.js";
import { returnWindow, startSession } from "./incoming.js";
import { breakOff, createSession, leave, type Session, type Stream } from "./session.js";
import { createStream, resetStream, sendHeaders, sendMessage } from "./streams.js";

/** How a call ended. */
export interface CallStatus {
  readonly code: number;
  readonly details: string;
  /** Trailers. */
  readonly fields: Fields;
  /** The other end has not looked at it: it may be sent again. */
  readonly unseen: boolean;
}

export interface CallEvents {
  /** Headers of the answer. */
  readonly header?: ((fields: Fields) => void) | undefined;
  readonly message: (bytes: Buffer) => void;
  /** Nothing comes afterwards. */
  readonly end: (status: CallStatus) => void;
}

export interface ClientCall {
  /** Ends it with CANCELLED. */
  cancel(): void;
  /** Says that a message of a stream was used, so that more may come. */
  used(): void;
}

export interface CallStart {
  readonly path: string;
  readonly fields: Fields;
  readonly message: Uint8Array;
  /** Milliseconds since the epoch; undefined = none. */
  readonly deadlineMs: number | undefined;
  /** Whether messages wait for `used` before the other end may send more than the first window. */
  readonly paced: boolean;
}

export interface ClientConnection {
  /** Whether calls can be started: the other end has spoken, and wants more. */
  readonly ready: boolean;
  /** Calls in progress, and how many the other end allows. */
  readonly active: number;
  readonly maxActive: number;
  /** When the other end was last heard, in the time of performance.now(). */
  readonly heardMs: number;
  call(start: CallStart, events: CallEvents): ClientCall;
  /** Goes when its last call has ended. */
  leave(): void;
  /** Ends it and all its calls at once. */
  destroy(why: string): void;
}

export interface ConnectionOptions {
  readonly socket: Duplex;
  readonly secure: boolean;
  readonly authority: string;
  readonly maxMessageBytes: number;
  readonly onReady: () => void;
  /** It takes no further calls. */
  readonly onGone: () => void;
}

// Go servers end a connection that is pinged more often than every five minutes (grpc-go keepalive enforcement).
const keepaliveMs = 5 * 60_000;
const keepaliveTimeoutMs = 20_000;
const maxHeldBytes = 256 * 1024 * 1024;
const lastStreamId = 2 ** 31 - 2;

const te: ConstantField = { name: "te", value: "trailers" };
const contentType: ConstantField = { name: "content-type", value: "application/grpc" };
const userAgent: ConstantField = { name: "user-agent", value: "grpc-weft/0.1" };
const paths = new Map<string, ConstantField>();

export function openConnection(options: ConnectionOptions): ClientConnection {
  const authority: ConstantField = { name: ":authority", value: options.authority };
  const shared = { held: 0, max: maxHeldBytes };
  let gone = false;
  const goneOnce = (): void => {
    if (gone) return;
    gone = true;
    options.onGone();
  };
  const session = createSession({
    socket: options.socket,
    server: false,
    maxStreams: 0,
    ready: options.onReady,
    leaving: goneOnce,
    closed: goneOnce,
    keepaliveMs,
    keepaliveTimeoutMs,
  });
  startSession(session);
  return {
    get ready() {
      return session.settled && !session.leaving && session.nextId < lastStreamId;
    },
    get active() {
      return session.streams.size;
    },
    get maxActive() {
      return session.peerMaxStreams;
    },
    get heardMs() {
      return session.heardMs;
    },
    call: (start, events) => startCall(session, start, events, { ...options, authority, shared }),
    leave: () => leave(session),
    destroy: (why) => {
      breakOff(session, Reset.NO_ERROR, why);
      options.socket.destroy();
    },
  };
}

interface CallContext {
  readonly secure: boolean;
  readonly authority: ConstantField;
  readonly maxMessageBytes: number;
  readonly shared: { held: number; readonly max: number };
}

const noCall: ClientCall = { cancel() {}, used() {} };

function startCall(session: Session, start: CallStart, events: CallEvents, context: CallContext): ClientCall {
  if (session.leaving || session.closed) {
    const status = { code: Code.UNAVAILABLE, details: "the connection is lost", fields: [], unseen: true };
    process.nextTick(() => events.end(status));
    return noCall;
  }
  const stream = createStream(session, session.nextId);
  session.nextId += 2;
  sendRequest(stream, start, context);
  sendMessage(stream, start.message, true);
  return follow(stream, start, events, context);
}

function sendRequest(stream: Stream, { path, fields, deadlineMs }: CallStart, { secure, authority }: CallContext): void {
  const { encoder } = stream.session;
  let bytes = 256 + path.length + authority.value.length;
  for (let at = 0; at < fields.length; at += 2) {
    checkHeader(fields[at] as string, fields[at + 1] as string);
    bytes += fieldBytes(fields[at] as string, fields[at + 1] as string);
  }
  sendHeaders(
    stream,
    bytes,
    (buffer, at) => {
      let next = beginBlock(encoder, buffer, at);
      buffer[next] = methodPost;
      buffer[next + 1] = secure ? schemeHttps : schemeHttp;
      next = writeConstant(encoder, pathField(path), buffer, next + 2);
      next = writeConstant(encoder, authority, buffer, next);
      next = writeConstant(encoder, te, buffer, next);
      next = writeConstant(encoder, contentType, buffer, next);
      next = writeConstant(encoder, userAgent, buffer, next);
      if (deadlineMs !== undefined) next = writeField("grpc-timeout", formatTimeout(deadlineMs - Date.now()), buffer, next);
      for (let index = 0; index < fields.length; index += 2) {
        next = writeField(fields[index] as string, fields[index + 1] as string, buffer, next);
      }
      return next;
    },
    false,
  );
}

function pathField(path: string): ConstantField {
  let field = paths.get(path);
  if (field === undefined) {
    field = { name: ":path", value: path };
    paths.set(path, field);
  }
  return field;
}

/** Hears the answer of a call. */
function follow(stream: Stream, start: CallStart, events: CallEvents, context: CallContext): ClientCall {
  let ended = false;
  let answered = false;
  let deadline: Deadline | undefined;
  const end = (code: number, details: string, fields: Fields = [], unseen = false): void => {
    if (ended) return;
    ended = true;
    assembler?.drop();
    if (deadline !== undefined) disarmDeadline(deadline);
    events.end({ code, details, fields, unseen });
  };
  const giveUp = (code: number, details: string): void => {
    resetStream(stream, Reset.CANCEL);
    end(code, details);
  };
  let assembler: ReturnType<typeof createAssembler> | undefined;
  let unused = 0;
  const assemble = (encoding: string | undefined): void => {
    assembler = createAssembler({
      maxBytes: context.maxMessageBytes,
      encoding,
      shared: context.shared,
      give(bytes) {
        unused++;
        if (!ended) events.message(bytes);
      },
    });
  };
  const trailers = (fields: Fields): void => {
    const status = statusOf(fields, answered);
    // the other end may leave us before we have said all: then nothing more is to be said
    if (!stream.localEnded) resetStream(stream, Reset.NO_ERROR);
    end(status.code, status.details, fields);
  };
  stream.events = {
    headers(fields, last) {
      if (last) {
        if (assembler?.incomplete) end(Code.INTERNAL, "the answer ended in the middle of a message");
        else trailers(fields);
        return;
      }
      if (answered || fieldOf(fields, ":status")?.startsWith("1")) return;
      const strange = strangeAnswer(fields);
      if (strange !== undefined) {
        giveUp(strange.code, strange.details);
        return;
      }
      answered = true;
      assemble(fieldOf(fields, "grpc-encoding"));
      events.header?.(fields);
    },
    data(bytes, last) {
      if (ended) return;
      try {
        if (bytes.length > 0) assembler?.take(bytes);
      } catch (error) {
        const { code = Code.INTERNAL, details = "an answer cannot be read" } = error as { code?: number; details?: string };
        giveUp(code, details);
        return;
      }
      // of a message larger than the window the rest must come
      if (!start.paced || (unused === 0 && assembler?.incomplete)) returnWindow(stream);
      if (last) end(Code.INTERNAL, "the answer ended without a status");
    },
    broken(why) {
      const { code, details } = statusOfReset(why);
      end(code, details, [], why.unseen);
    },
    drained() {},
  };
  if (start.deadlineMs !== undefined) {
    deadline = armDeadline(start.deadlineMs, () => giveUp(Code.DEADLINE_EXCEEDED, "the deadline has passed"));
  }
  return {
    cancel: () => {
      if (!ended) giveUp(Code.CANCELLED, "cancelled by the caller");
    },
    used() {
      unused--;
      returnWindow(stream);
    },
  };
}
