/**
 * The edge where calls of strangers become calls of chains: admission, one signal per call, statuses, back-pressure.
 * A call has three reasons to end (caller gone, deadline, shutdown); here they become one AbortSignal. Errors that leave
 * the process are logged here, once. A stream that this process ends is UNAVAILABLE, never CANCELLED: NSM clients stop
 * healing on CANCELLED (behaviour of NSM's heal element).
 */
import { performance } from "node:perf_hooks";
import { Metadata, type Server, type ServerDuplexStream, type ServerUnaryCall, type ServerWritableStream } from "@grpc/grpc-js";
import type { CallContext } from "../chain.js";
import type { Peer } from "../peer.js";
import { Code, type StatusError, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { leavingStatus, logFailure, streamStatus, wireError, withRetryHint } from "./edge-status.js";
import { type Gate, passGate } from "./gate.js";
import { decodeRequest, encodeMessage, type Malformed, type Method } from "./methods.js";
import { pump } from "./pump.js";

/** What one call cost, for metrics. */
export interface CallReport {
  readonly method: string;
  readonly code: Code;
  readonly durationMs: number;
}

export interface EdgeOptions {
  readonly server: Server;
  readonly log: Log;
  /** Unary calls in progress; the next one is refused with RESOURCE_EXHAUSTED. */
  readonly maxCalls: number;
  /** Open server streams; the next one is refused with RESOURCE_EXHAUSTED. */
  readonly maxStreams: number;
  /** Who is behind a connection, by the name that gRPC gives to it. */
  readonly peerOf: (name: string) => Peer;
  readonly onCall?: ((report: CallReport) => void) | undefined;
  /** Asked before anything of a unary call is looked at. */
  readonly gate?: Gate | undefined;
}

export interface Edge {
  /** Names of all services bound to this server. */
  readonly services: readonly string[];
  unary<I, O>(method: Method<I, O>, answer: (input: I, context: CallContext) => Promise<O>): void;
  /** @param encode  replaces the method's own encoding, for answers that many callers share */
  stream<I, O>(
    method: Method<I, O>,
    answer: (input: I, context: CallContext) => AsyncIterable<O>,
    encode?: (message: O) => Buffer,
  ): void;
  /** Both sides stream: the caller's messages come in order, one at a time. */
  duplex<I, O>(method: Method<I, O>, answer: (inputs: AsyncIterable<I>, context: CallContext) => AsyncIterable<O>): void;
}

/** One gRPC service, ready to be bound to a server. */
export interface ServiceBinding {
  readonly name: string;
  bind(edge: Edge): void;
}

export interface EdgeControl {
  readonly edge: Edge;
  /** Refuses new calls, ends streams; resolves when the unary calls in progress are done or the time is over. */
  drain(timeoutMs: number): Promise<void>;
}

// The parts of grpc-js calls that both kinds share.
type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

interface LiveCall {
  readonly context: CallContext;
  readonly controller: AbortController;
  readonly replyHeader: () => Metadata | undefined;
  /** The status to leave with; logs and counts the call. Undefined error = OK. */
  readonly finish: (error?: unknown) => StatusError | undefined;
}

export function createEdge(options: EdgeOptions, services: readonly string[]): EdgeControl {
  const { server, log } = options;
  const calls = new Set<LiveCall>();
  const streams = new Set<LiveCall>();
  const { pass, end } = passGate(options);
  let shutdown: StatusError | undefined;
  let idle = (): void => {};

  function refusal(live: Set<LiveCall>, max: number): StatusError | undefined {
    if (shutdown !== undefined) return shutdown;
    if (live.size < max) return undefined;
    return statusError(Code.RESOURCE_EXHAUSTED, `${max} calls are in progress here; try again later`);
  }

  function open(method: string, call: AnyCall, input: unknown, live: Set<LiveCall>): LiveCall {
    const controller = new AbortController();
    const startedMs = performance.now();
    let done = false;
    const { context, replyHeader } = contextOf(
      call.metadata,
      deadlineOf(call),
      controller.signal,
      options.peerOf(call.getPeer()),
    );
    const self: LiveCall = {
      context,
      controller,
      replyHeader,
      finish(error) {
        done = true;
        live.delete(self);
        if (shutdown !== undefined && calls.size === 0) idle();
        const status = error === undefined ? undefined : leavingStatus(error, controller.signal);
        const durationMs = performance.now() - startedMs;
        options.onCall?.({ method, code: status?.code ?? Code.OK, durationMs });
        if (status !== undefined && status !== shutdown) logFailure(log, method, status, context, input);
        return status;
      },
    };
    // grpc-js also emits this after every ordinary end
    call.on("cancelled", () => {
      if (done) return;
      const late = context.deadlineMs !== undefined && Date.now() >= context.deadlineMs - 1;
      controller.abort(
        late
          ? new DOMException(`${method}: the deadline has passed`, "TimeoutError")
          : new DOMException(`${method}: the caller has gone`, "AbortError"),
      );
    });
    live.add(self);
    return self;
  }

  /** Runs one stream to its end; what it throws becomes its final status. */
  function serveStream<O>(
    path: string,
    call: ServerWritableStream<unknown, O> | ServerDuplexStream<unknown, O>,
    input: unknown,
    messages: (context: CallContext) => AsyncIterable<O>,
  ): void {
    const handle = async (): Promise<void> => {
      const refused = refusal(streams, options.maxStreams);
      if (refused !== undefined) throw withRetryHint(refused);
      const live = open(path, call as AnyCall, input, streams);
      const { signal } = live.controller;
      try {
        await pump(messages(live.context), call, signal);
        signal.throwIfAborted();
        live.finish();
      } catch (error) {
        throw streamStatus(live.finish(error), signal);
      }
    };
    handle().then(
      () => call.end(),
      // the call turns an error event into its final status
      (error) => call.emit("error", wireError(error)),
    );
  }

  const edge: Edge = {
    services,
    unary<I, O>(method: Method<I, O>, answer: (input: I, context: CallContext) => Promise<O>) {
      const handle = async (call: ServerUnaryCall<I | Malformed, O>): Promise<O> => {
        const input = call.request;
        if (options.gate !== undefined) await pass(method.path, options.peerOf(call.getPeer()));
        const refused = refusal(calls, options.maxCalls);
        if (refused !== undefined) throw withRetryHint(refused);
        const live = open(method.path, call as AnyCall, input, calls);
        try {
          if (isMalformed(input)) throw input.malformed;
          const output = await answer(input, live.context);
          const header = live.replyHeader();
          live.finish();
          if (header !== undefined) call.sendMetadata(header);
          return output;
        } catch (error) {
          throw live.finish(error);
        }
      };
      server.register(
        method.path,
        (call: ServerUnaryCall<I | Malformed, O>, callback: (error: object | null, value?: O) => void) => {
          handle(call).then(
            (output) => callback(null, output),
            (error) => callback(wireError(error)),
          );
        },
        (message: O) => encodeMessage(method.response, message),
        (bytes: Buffer) => decodeRequest(method, bytes),
        "unary",
      );
    },
    stream<I, O>(
      method: Method<I, O>,
      answer: (input: I, context: CallContext) => AsyncIterable<O>,
      encode: (message: O) => Buffer = (message) => encodeMessage(method.response, message),
    ) {
      server.register(
        method.path,
        (call: ServerWritableStream<I | Malformed, O>) => {
          const input = call.request;
          serveStream(method.path, call, input, (context) => {
            if (isMalformed(input)) throw input.malformed;
            return answer(input, context);
          });
        },
        encode,
        (bytes: Buffer) => decodeRequest(method, bytes),
        "serverStream",
      );
    },
    duplex<I, O>(method: Method<I, O>, answer: (inputs: AsyncIterable<I>, context: CallContext) => AsyncIterable<O>) {
      server.register(
        method.path,
        (call: ServerDuplexStream<I | Malformed, O>) => {
          serveStream(method.path, call, undefined, (context) => answer(wellFormed(call), context));
        },
        (message: O) => encodeMessage(method.response, message),
        (bytes: Buffer) => decodeRequest(method, bytes),
        "bidi",
      );
    },
  };

  return {
    edge,
    async drain(timeoutMs) {
      shutdown ??= statusError(Code.UNAVAILABLE, "this component is shutting down; try again");
      end();
      for (const live of [...streams]) live.controller.abort(shutdown);
      if (calls.size > 0 && timeoutMs > 0) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, timeoutMs);
          idle = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      for (const live of [...calls]) live.controller.abort(shutdown);
    },
  };
}

/** What a chain knows of a call. It may outlive the call by far, so it must hold on to nothing but the headers. */
function contextOf(
  metadata: Metadata,
  deadlineMs: number | undefined,
  signal: AbortSignal,
  peer: Peer,
): { context: CallContext; replyHeader: () => Metadata | undefined } {
  let header: Metadata | undefined;
  const context: CallContext = {
    signal,
    deadlineMs,
    peer,
    metadata: (name) => metadata.get(name).map(String),
    reply: (name, value) => {
      header ??= new Metadata();
      header.set(name, value);
    },
    traceparent: metadata.get("traceparent")[0]?.toString(),
  };
  return { context, replyHeader: () => header };
}

function isMalformed(input: unknown): input is Malformed {
  return typeof input === "object" && input !== null && Object.hasOwn(input, "malformed");
}

async function* wellFormed<I>(call: ServerDuplexStream<I | Malformed, unknown>): AsyncIterable<I> {
  // leaving the loop early must not destroy the call: its final status is still to be sent
  for await (const input of call.iterator({ destroyOnReturn: false }) as AsyncIterable<I | Malformed>) {
    if (isMalformed(input)) throw input.malformed;
    yield input;
  }
}

function deadlineOf(call: AnyCall): number | undefined {
  const deadline = call.getDeadline();
  const timeMs = typeof deadline === "number" ? deadline : deadline.getTime();
  return Number.isFinite(timeMs) ? timeMs : undefined;
}
