/**
 * The chain engine: one typed list of elements for any unary API.
 *
 * An element declares the context it needs and the context it adds; `use` accepts it only where everything it
 * needs has been added before, so a wrong order does not compile. The rest of the chain is an argument (`rest`),
 * and an element hands to it only what it adds: it can neither drop nor forge what others added.
 */
import type { Peer } from "./peer.js";

// biome-ignore lint/suspicious/noExplicitAny: the engine is generic over the input of each method
export type Methods = Record<string, (input: any) => unknown>;
export type Input<A extends Methods, M extends keyof A> = Parameters<A[M]>[0];
export type Output<A extends Methods, M extends keyof A> = ReturnType<A[M]>;

/** What is known of a call before any element has run. */
export interface CallContext {
  /** Aborts when the caller is gone, the deadline has passed or the process stops. */
  readonly signal: AbortSignal;
  /** Deadline of the call in milliseconds since the epoch; undefined = none. */
  readonly deadlineMs: number | undefined;
  readonly peer: Peer;
  /** Values of one request header (lower-case name); empty if absent. */
  readonly metadata: (name: string) => readonly string[];
  /** Sets one response header (initial metadata). Ignored for calls made from inside. */
  readonly reply: (name: string, value: string) => void;
  /** W3C traceparent of the current span; undefined = not traced. */
  readonly traceparent: string | undefined;
  /**
   * Runs `undo` when the caller withdraws the call in the moment in which its answer goes out: it has not taken the answer then
   * and does not know of what was made for it. Absent for calls made from inside; a later call replaces the earlier.
   */
  readonly whenUntaken?: ((undo: () => void) => void) | undefined;
}

type AddsArgument<Adds extends object> = keyof Adds extends never ? [] : [adds: Adds];

/** The chain after this element. `detach` gives the same rest for work started from inside (expiry, heal). */
export type Rest<A extends Methods, Adds extends object = object> = {
  readonly [M in keyof A]: (input: Input<A, M>, ...adds: AddsArgument<Adds>) => Promise<Output<A, M>>;
};

export interface Detachable<A extends Methods, Adds extends object> {
  /** The rest of the chain under another call context, for work that outlives the call it came with. */
  readonly detach: (call: Partial<CallContext> & { signal: AbortSignal }) => Rest<A, Adds> & Detachable<A, Adds>;
}

type Step<A extends Methods, M extends keyof A, Needs extends object, Adds extends object> = (
  input: Input<A, M>,
  context: CallContext & Needs,
  rest: Rest<A, Adds> & Detachable<A, Adds>,
) => Promise<Output<A, M>>;

/** A method that is left out passes straight through; that is allowed only if the element adds nothing. */
type Steps<A extends Methods, Needs extends object, Adds extends object> = keyof Adds extends never
  ? { readonly [M in keyof A]?: Step<A, M, Needs, Adds> }
  : { readonly [M in keyof A]: Step<A, M, Needs, Adds> };

export interface Element<A extends Methods, Needs extends object = object, Adds extends object = object> {
  /** kebab-case verb, as in the file's name; used in traces. */
  readonly name: string;
  readonly steps: Steps<A, Needs, Adds>;
}

/** A whole chain, or anything else that answers an API. */
export type Handler<A extends Methods, Needs extends object = object> = {
  readonly [M in keyof A]: (input: Input<A, M>, context: CallContext & Needs) => Promise<Output<A, M>>;
};

/** Sees every element of every chain: tracing, logging and metrics hang here and nowhere else. */
export interface ChainObserver {
  around<T>(
    step: { readonly chain: string; readonly element: string; readonly method: string },
    input: unknown,
    context: CallContext,
    run: (context: CallContext) => Promise<T>,
  ): Promise<T>;
}

export interface ChainBuilder<A extends Methods, Has extends object> {
  use<Adds extends object = object>(element: Element<A, Has, Adds>): ChainBuilder<A, Has & Adds>;
  /** Closes the chain with what answers at its end. */
  end(last: Handler<A, Has>): Handler<A>;
}

// biome-ignore-start lint/suspicious/noExplicitAny: the types above are the contract; inside, contexts are merged blindly
type AnyStep = (input: any, context: any, rest: any) => Promise<any>;

/**
 * Starts a chain.
 * @param name  the component, as it appears in traces
 * @param methods  the unary methods of the API
 */
export function chain<A extends Methods>(
  name: string,
  methods: readonly (keyof A & string)[],
  observer?: ChainObserver,
): ChainBuilder<A, object> {
  const elements: { name: string; steps: Record<string, AnyStep | undefined> }[] = [];

  function build(index: number, last: Handler<A, any>): Record<string, (input: any, context: any) => Promise<any>> {
    const element = elements[index];
    if (element === undefined) return last as any;
    const next = build(index + 1, last);
    const restFor = (context: any): any => {
      const rest: any = {};
      for (const method of methods) {
        const run = next[method] as (input: any, context: any) => Promise<any>;
        rest[method] = (input: any, adds?: object) => run(input, adds === undefined ? context : { ...context, ...adds });
      }
      rest.detach = (call: object) =>
        restFor({ ...context, deadlineMs: undefined, traceparent: undefined, reply: ignoreReply, ...call });
      return rest;
    };
    const handler: Record<string, (input: any, context: any) => Promise<any>> = {};
    for (const method of methods) {
      const step = element.steps[method];
      if (step === undefined) {
        handler[method] = next[method] as (input: any, context: any) => Promise<any>;
      } else if (observer === undefined) {
        handler[method] = async (input, context) => step(input, context, restFor(context));
      } else {
        const where = { chain: name, element: element.name, method };
        handler[method] = (input, context) =>
          observer.around(where, input, context, async (inner) => step(input, inner, restFor(inner)));
      }
    }
    return handler;
  }

  const builder: any = {
    use(element: any) {
      elements.push(element);
      return builder;
    },
    end: (last: Handler<A, any>) => build(0, last),
  };
  return builder;
}
// biome-ignore-end lint/suspicious/noExplicitAny: see above

function ignoreReply(): void {}

/** A call context for work that no caller started. */
export function backgroundCall(signal: AbortSignal): CallContext {
  return {
    signal,
    deadlineMs: undefined,
    peer: { kind: "self" },
    metadata: () => [],
    reply: ignoreReply,
    traceparent: undefined,
  };
}
