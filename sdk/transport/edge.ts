/**
 * The edge where calls of strangers become calls of chains: admission, one signal per call, statuses, back-pressure.
 * A call has three reasons to end (caller gone, deadline, shutdown); here they become one AbortSignal. Errors that leave
 * the process are logged here, once. A stream that this process ends is UNAVAILABLE, never CANCELLED: NSM clients stop
 * healing on CANCELLED (behaviour of NSM's heal element).
 */
import { performance } from "node:perf_hooks";
import type { CallContext } from "../chain.js";
import { Code, type StatusError, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { createInputs } from "./edge-inputs.js";
import { leavingStatus, logFailure, streamStatus, wireStatus, withRetryHint } from "./edge-status.js";
import { type Gate, passGate } from "./gate.js";
import { valuesOf } from "./h2/grpc-text.js";
import { fieldOf } from "./h2/header-decoder.js";
import type { ServedMethod, ServerCall } from "./h2/server.js";
import { decodeRequest, encodeMessage, isMalformed, type Method } from "./methods.js";
import { drained } from "./pump.js";

/** What one call cost, for metrics. */
export interface CallReport {
  readonly method: string;
  readonly code: Code;
  readonly durationMs: number;
}

export interface EdgeOptions {
  readonly log: Log;
  /** One message, in bytes. */
  readonly maxMessageBytes: number;
  /** Unary calls in progress; the next one is refused with RESOURCE_EXHAUSTED. */
  readonly maxCalls: number;
  /** Open server streams; the next one is refused with RESOURCE_EXHAUSTED. */
  readonly maxStreams: number;
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
  /** What was bound, by path. */
  readonly methods: ReadonlyMap<string, ServedMethod>;
  /** Refuses new calls, ends streams; resolves when the unary calls in progress are done or the time is over. */
  drain(timeoutMs: number): Promise<void>;
}

type Answer<I, O> = (input: I, context: CallContext) => Promise<O>;

interface StreamJob<O> {
  /** For the log. */
  readonly input: unknown;
  readonly encode: (message: O) => Buffer;
  readonly messages: (context: CallContext) => AsyncIterable<O>;
}

interface LiveCall {
  readonly context: CallContext;
  readonly controller: AbortController;
  /** Headers of the answer: name, value, …; empty = none. */
  readonly header: string[];
  /** What the chain wants undone when nobody takes the answer. */
  readonly untaken: { undo: (() => void) | undefined };
  /** The caller has gone, or its deadline has passed. */
  cut: boolean;
  /** The status to leave with; logs and counts the call. Undefined error = OK. */
  readonly finish: (error?: unknown) => StatusError | undefined;
}

export function createEdge(options: EdgeOptions, services: readonly string[]): EdgeControl {
  const { log } = options;
  const calls = new Set<LiveCall>();
  const streams = new Set<LiveCall>();
  const methods = new Map<string, ServedMethod>();
  const { pass, end } = passGate(options);
  let shutdown: StatusError | undefined;
  let idle = (): void => {};

  function refusal(live: Set<LiveCall>, max: number): StatusError | undefined {
    if (shutdown !== undefined) return shutdown;
    if (live.size < max) return undefined;
    return statusError(Code.RESOURCE_EXHAUSTED, `${max} calls are in progress here; try again later`);
  }

  function open(method: string, call: ServerCall, input: unknown, live: Set<LiveCall>): LiveCall {
    const controller = new AbortController();
    const startedMs = performance.now();
    const header: string[] = [];
    const untaken: LiveCall["untaken"] = { undo: undefined };
    const context = contextOf(call, controller.signal, header, untaken);
    const self: LiveCall = {
      context,
      controller,
      header,
      untaken,
      cut: false,
      finish(error) {
        call.onCut = undefined;
        live.delete(self);
        if (shutdown !== undefined && calls.size === 0) idle();
        const status = error === undefined ? undefined : leavingStatus(error, controller.signal);
        const durationMs = performance.now() - startedMs;
        options.onCall?.({ method, code: status?.code ?? Code.OK, durationMs });
        if (status !== undefined && status !== shutdown) logFailure(log, method, status, context, input);
        return status;
      },
    };
    call.onCut = (late) => {
      self.cut = true;
      controller.abort(
        late
          ? new DOMException(`${method}: the deadline has passed`, "TimeoutError")
          : new DOMException(`${method}: the caller has gone`, "AbortError"),
      );
    };
    live.add(self);
    return self;
  }

  function encoded<O>(encode: (message: O) => Buffer, message: O): Buffer {
    const bytes = encode(message);
    if (bytes.length <= options.maxMessageBytes) return bytes;
    const text = `an answer of ${bytes.length} bytes is larger than the ${options.maxMessageBytes} that are sent`;
    throw statusError(Code.RESOURCE_EXHAUSTED, text);
  }

  /** Runs one stream to its end; what it throws becomes its final status. */
  async function serveStream<O>(path: string, call: ServerCall, { input, encode, messages }: StreamJob<O>): Promise<void> {
    const refused = refusal(streams, options.maxStreams);
    if (refused !== undefined) {
      call.finish(wireStatus(withRetryHint(refused)));
      return;
    }
    const live = open(path, call, input, streams);
    const { signal } = live.controller;
    try {
      for await (const message of messages(live.context)) {
        if (signal.aborted) break;
        call.header(live.header);
        if (!call.write(encoded(encode, message))) await drained(call, signal);
      }
      signal.throwIfAborted();
      live.finish();
      call.header(live.header);
      call.finish();
    } catch (error) {
      call.finish(wireStatus(streamStatus(live.finish(error), signal)));
    }
  }

  async function serveUnary<I, O>(method: Method<I, O>, answer: Answer<I, O>, call: ServerCall, bytes: Buffer): Promise<void> {
    if (options.gate !== undefined) {
      try {
        await pass(method.path, call.peer);
      } catch (error) {
        call.finish(wireStatus(error));
        return;
      }
    }
    const refused = refusal(calls, options.maxCalls);
    if (refused !== undefined) {
      call.finish(wireStatus(withRetryHint(refused)));
      return;
    }
    const input = decodeRequest(method, bytes);
    const live = open(method.path, call, input, calls);
    try {
      if (isMalformed(input)) throw input.malformed;
      const output = encoded((message: O) => encodeMessage(method.response, message), await answer(input, live.context));
      live.finish();
      const { undo } = live.untaken;
      live.untaken.undo = undefined;
      // withdrawn when the chain was past its last look at the signal
      if (live.cut) undo?.();
      else call.onUntaken = undo;
      call.header(live.header);
      call.write(output);
      call.finish();
    } catch (error) {
      // the chain had an answer that cannot be sent
      live.untaken.undo?.();
      call.finish(wireStatus(live.finish(error)));
    }
  }

  const edge: Edge = {
    services,
    unary(method, answer) {
      methods.set(method.path, {
        input: "single",
        serve: (call, bytes) => void serveUnary(method, answer, call, bytes as Buffer),
      });
    },
    stream(method, answer, encode = (message) => encodeMessage(method.response, message)) {
      methods.set(method.path, {
        input: "single",
        serve(call, bytes) {
          const input = decodeRequest(method, bytes as Buffer);
          const messages: StreamJob<Parameters<typeof encode>[0]>["messages"] = (context) => {
            if (isMalformed(input)) throw input.malformed;
            return answer(input, context);
          };
          void serveStream(method.path, call, { input, encode, messages });
        },
      });
    },
    duplex(method, answer) {
      methods.set(method.path, {
        input: "many",
        serve(call) {
          const inputs = createInputs(method, call);
          const encode = (message: Parameters<typeof method.response.encode>[0]): Buffer =>
            encodeMessage(method.response, message);
          void serveStream(method.path, call, {
            input: undefined,
            encode,
            messages: (context) => answer(inputs(context.signal), context),
          });
        },
      });
    },
  };

  return {
    edge,
    methods,
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
  { fields, peer, deadlineMs }: ServerCall,
  signal: AbortSignal,
  header: string[],
  untaken: LiveCall["untaken"],
): CallContext {
  return {
    signal,
    deadlineMs,
    peer,
    metadata: (name) => valuesOf(fields, name),
    reply: (name, value) => {
      header.push(name, value);
    },
    traceparent: fieldOf(fields, "traceparent"),
    whenUntaken: (undo) => {
      untaken.undo = undo;
    },
  };
}
