/** gRPC over our HTTP/2, the side that answers. */
import type { Duplex } from "node:stream";
import type { Peer } from "../../peer.js";
import { Code } from "../../status.js";
import { answerStranger, noFields, sendResponseHeaders, sendTrailers, type WireStatus } from "./answer.js";
import { createAssembler } from "./assembler.js";
import { armDeadline, type Deadline, disarmDeadline } from "./deadlines.js";
import { parseTimeout } from "./grpc-text.js";
import { type Fields, fieldOf } from "./header-decoder.js";
import { returnWindow, startSession } from "./incoming.js";
import { createSession, leave, noteAnswered, type Session, type Stream, type StreamEvents } from "./session.js";
import { endAfter, sendMessage, stopListening } from "./streams.js";

export interface ServerCall {
  readonly path: string;
  /** Headers of the request. */
  readonly fields: Fields;
  readonly peer: Peer;
  /** Milliseconds since the epoch; undefined = none. */
  readonly deadlineMs: number | undefined;
  /** Called at most once: the caller has gone, or its deadline has passed. */
  onCut: ((late: boolean) => void) | undefined;
  /** Called at most once, after a `finish` without a status: the caller has withdrawn the call and not taken the answer. */
  onUntaken: (() => void) | undefined;
  /** Called whenever more may be written. */
  onDrained: (() => void) | undefined;
  /** Each message of a method of kind "duplex", and undefined after the last. */
  onMessage: ((message: Buffer | undefined) => void) | undefined;
  /** Says that a message was used, so that more may come. */
  used(): void;
  /** Headers before the first message. */
  header(fields: Fields): void;
  /** @returns false: wait for `onDrained` before the next one */
  write(message: Uint8Array): boolean;
  /** The end; undefined = OK. Afterwards nothing else does anything. */
  finish(status?: WireStatus): void;
}

export interface ServedMethod {
  /** "single": one message comes; "many": any number, and `serve` is called without one. */
  readonly input: "single" | "many";
  serve(call: ServerCall, message: Buffer | undefined): void;
}

export interface GrpcServerOptions {
  readonly methods: ReadonlyMap<string, ServedMethod>;
  /** Given to every call instead of what `methods` says. */
  readonly refuseAll?: WireStatus | undefined;
  readonly maxMessageBytes: number;
  readonly maxStreamsPerConnection: number;
}

export interface GrpcServer {
  serve(socket: Duplex, peer: Peer): void;
  /** Asks those who are here to go, and to come again if they want. */
  leave(): void;
}

/** Memory that one connection may take with messages that have not come whole, in bytes. */
const maxHeldBytes = 32 * 1024 * 1024;
// A caller whose machine has vanished is noticed: its streams would stay for ever.
const keepaliveMs = 60_000;
const keepaliveTimeoutMs = 20_000;

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const sessions = new Set<Session>();
  return {
    serve(socket, peer) {
      const shared = { held: 0, max: maxHeldBytes };
      const session: Session = createSession({
        socket,
        server: true,
        maxStreams: options.maxStreamsPerConnection,
        accept: (stream, fields) => acceptCall(options, stream, fields, peer, shared),
        closed: () => sessions.delete(session),
        keepaliveMs,
        keepaliveTimeoutMs,
      });
      sessions.add(session);
      startSession(session);
    },
    leave() {
      for (const session of [...sessions]) leave(session);
    },
  };
}

function acceptCall(
  options: GrpcServerOptions,
  stream: Stream,
  fields: Fields,
  peer: Peer,
  shared: { held: number; readonly max: number },
): StreamEvents {
  const call = createCall(stream, fields, peer);
  const { path } = call;
  const type = fieldOf(fields, "content-type");
  if (fieldOf(fields, ":method") !== "POST" || type === undefined || !type.startsWith("application/grpc")) {
    answerStranger(stream);
    return deaf;
  }
  const method = options.methods.get(path);
  if (options.refuseAll !== undefined) call.finish(options.refuseAll);
  else if (method === undefined) call.finish({ code: Code.UNIMPLEMENTED, details: `there is no method ${path} here` });
  else if (call.deadlineMs !== undefined && Number.isNaN(call.deadlineMs)) {
    call.finish({ code: Code.INVALID_ARGUMENT, details: "grpc-timeout is none" });
  } else return receive(call, method, stream, options.maxMessageBytes, shared);
  return deaf;
}

const deaf: StreamEvents = { headers() {}, data() {}, broken() {}, drained() {} };

/** Reads what the caller sends, and starts the method when it has what it needs. */
function receive(
  call: LiveCall,
  method: ServedMethod,
  stream: Stream,
  maxBytes: number,
  shared: { held: number; readonly max: number },
): StreamEvents {
  const many = method.input === "many";
  let single: Buffer | undefined;
  const fail = (code: number, details: string): void => {
    assembler.drop();
    call.cut(false);
    call.finish({ code, details });
  };
  const assembler = createAssembler({
    maxBytes,
    encoding: fieldOf(call.fields, "grpc-encoding"),
    shared,
    give(message) {
      if (many) {
        call.unused++;
        call.onMessage?.(message);
      } else if (single === undefined) single = message;
      else fail(Code.INTERNAL, "more than one message in a call that takes one");
    },
  });
  if (call.deadlineMs !== undefined) {
    call.deadline = armDeadline(call.deadlineMs, () => {
      assembler.drop();
      call.cut(true);
      call.finish({ code: Code.DEADLINE_EXCEEDED, details: "the deadline has passed" });
    });
  }
  if (many) method.serve(call, undefined);
  return {
    headers() {},
    data(bytes, end) {
      if (call.finished) return;
      try {
        if (bytes.length > 0) assembler.take(bytes);
      } catch (error) {
        const { code = Code.INTERNAL, details = "a message cannot be read" } = error as { code?: number; details?: string };
        fail(code, details);
        return;
      }
      // of a message larger than the window the rest must come
      if (!many || (call.unused === 0 && assembler.incomplete)) returnWindow(stream);
      if (!end || call.finished) return;
      if (assembler.incomplete) fail(Code.INTERNAL, "the call ended in the middle of a message");
      else if (many) call.onMessage?.(undefined);
      else if (single === undefined) fail(Code.INTERNAL, "the call ended without a message");
      else method.serve(call, single);
      single = undefined;
    },
    broken() {
      assembler.drop();
      call.cut(false);
      const { onUntaken } = call;
      call.onUntaken = undefined;
      // answered, and some of it waits still to be sent
      if (call.finished) onUntaken?.();
      call.finished = true;
    },
    drained: () => call.onDrained?.(),
    ...(!many && { stalled: () => fail(Code.DEADLINE_EXCEEDED, "the message of the call did not come in time") }),
  };
}

interface LiveCall extends ServerCall {
  finished: boolean;
  deadline: Deadline | undefined;
  /** Messages given and not used yet. */
  unused: number;
  /** Tells who serves that nobody waits any more. */
  cut(late: boolean): void;
}

function createCall(stream: Stream, fields: Fields, peer: Peer): LiveCall {
  const timeout = fieldOf(fields, "grpc-timeout");
  let answered = false;
  const call: LiveCall = {
    path: fieldOf(fields, ":path") ?? "",
    fields,
    peer,
    deadlineMs: timeout === undefined ? undefined : Date.now() + (parseTimeout(timeout) ?? Number.NaN),
    onCut: undefined,
    onUntaken: undefined,
    onDrained: undefined,
    onMessage: undefined,
    finished: false,
    deadline: undefined,
    unused: 0,
    cut(late) {
      if (call.deadline !== undefined) disarmDeadline(call.deadline);
      const { onCut } = call;
      call.onCut = undefined;
      onCut?.(late);
    },
    used() {
      call.unused--;
      returnWindow(stream);
    },
    header(extra) {
      if (call.finished || answered) return;
      answered = true;
      sendResponseHeaders(stream, extra);
    },
    write(message) {
      if (call.finished) return true;
      call.header(noFields);
      return sendMessage(stream, message, false);
    },
    finish(status) {
      if (call.finished) return;
      call.finished = true;
      call.onCut = undefined;
      if (call.deadline !== undefined) disarmDeadline(call.deadline);
      endAfter(stream, () => {
        sendTrailers(stream, status, answered);
        stopListening(stream);
        if (status === undefined && call.onUntaken !== undefined) noteAnswered(stream, call.onUntaken);
      });
    },
  };
  return call;
}
