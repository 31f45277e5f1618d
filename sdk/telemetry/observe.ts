/**
 * What watches every chain: one trace per request through all components, durations and outcomes, and at level trace
 * one log line for each element. It hangs on the chain engine and nowhere else.
 */
import type { CallContext, ChainObserver } from "../chain.js";
import { codeName, toStatusError } from "../status.js";
import { callFields, connectionIdOf } from "./call-fields.js";
import type { Log } from "./log.js";
import { newTraceparent, parseTraceparent } from "./traceparent.js";

/** Makes spans; the one implementation that sends them is otlp-traces.ts, loaded only when it is wanted. */
export interface Tracer {
  /** Starts a span below the given parent; a missing or malformed parent starts a new trace. */
  start(
    name: string,
    parent: string | undefined,
    options: { readonly server: boolean; readonly attributes: Record<string, string> },
  ): Span;
}
export interface Span {
  /** To be handed on, so that later spans become its children. */
  readonly traceparent: string;
  /** @param failure  the gRPC code's name and the text, when it failed */
  end(failure?: { code: string; message: string }): void;
}

/** Counts what a component answers. */
export interface CallMeter {
  observe(chain: string, method: string, code: string, durationMs: number): void;
}

/** Marks a context that has been inside a chain of this process; spreads along with the context. */
const inside: unique symbol = Symbol("inside");
type Marked = CallContext & { readonly [inside]?: string };

export function createObserver(options: {
  readonly log: Log;
  readonly tracer?: Tracer | undefined;
  readonly meter?: CallMeter | undefined;
}): ChainObserver {
  const { log, tracer, meter } = options;
  return {
    async around(step, input, context, run) {
      // the first element of a chain stands for the whole call
      const outermost = (context as Marked)[inside] !== step.chain;
      const verbose = log.enabled("trace");
      if (!outermost && tracer === undefined && !verbose) return run(context);
      const span = startSpan(tracer, step, input, context, outermost);
      const traceparent =
        span?.traceparent ?? (parseTraceparent(context.traceparent) === undefined ? newTraceparent() : context.traceparent);
      const inner: Marked = { ...context, traceparent, [inside]: step.chain };
      const startedAt = performance.now();
      let code = "OK";
      let message: string | undefined;
      try {
        return await run(inner);
      } catch (error) {
        const failure = toStatusError(error);
        code = codeName(failure.code);
        message = failure.details;
        throw error;
      } finally {
        const durationMs = performance.now() - startedAt;
        span?.end(message === undefined ? undefined : { code, message });
        if (outermost) meter?.observe(step.chain, step.method, code, durationMs);
        if (verbose || (outermost && log.enabled("debug"))) {
          const fields = {
            ...callFields(inner, input),
            chain: step.chain,
            ...(verbose ? { element: step.element } : {}),
            method: step.method,
            code,
            ...(message === undefined ? {} : { refusal: message }),
            durationMs: Number(durationMs.toFixed(3)),
          };
          if (outermost) log.debug("call answered", verbose ? { ...fields, input: loggable(input) } : fields);
          else log.trace("element done", fields);
        }
      }
    },
  };
}

function startSpan(
  tracer: Tracer | undefined,
  step: { readonly chain: string; readonly element: string; readonly method: string },
  input: unknown,
  context: CallContext,
  outermost: boolean,
): Span | undefined {
  if (tracer === undefined) return undefined;
  const attributes: Record<string, string> = { "weft.element": step.element, "weft.method": step.method };
  const connectionId = connectionIdOf(input);
  if (connectionId !== undefined) attributes["weft.connection.id"] = connectionId;
  return tracer.start(`${step.chain}/${step.element}.${step.method}`, context.traceparent, { server: outermost, attributes });
}

/** A message without its tokens: they are credentials and have no place in a log. */
function loggable(input: unknown): unknown {
  return JSON.parse(
    JSON.stringify(input, (key, value: unknown) => {
      if (key === "token") return value === "" ? "" : "(token)";
      if (key === "_unknownFields") return undefined;
      return typeof value === "bigint" ? String(value) : value;
    }) ?? "null",
  ) as unknown;
}
