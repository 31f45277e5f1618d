/** One remote call over a pooled connection: signal in, status error out. */
import { setMaxListeners } from "node:events";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import type { Identity } from "../identity/identity.js";
import type { PeerIdentity } from "../peer.js";
import { Code, isStatusError, type StatusError, statusError, toStatusError } from "../status.js";
import { type Address, formatAddress } from "./address.js";
import type { CallEnd, ChannelPool, Lease } from "./channel-pool.js";
import { type Passage, passFiles } from "./descriptors/client-calls.js";
import { encodeMessage, type Method } from "./methods.js";

export interface CallOptions {
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch; travels to the next hop. A unary call has at most `longestCallMs`. */
  readonly deadlineMs?: number | undefined;
  readonly traceparent?: string | undefined;
  /** Further request headers. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Gets the value of each response header, in lower case. */
  readonly onHeader?: ((name: string, value: string) => void) | undefined;
  /** Gets who serves the call, before it is sent; undefined without an identity. */
  readonly onPeer?: ((peer: PeerIdentity | undefined) => void) | undefined;
}

/** Request headers of a token and its end (RFC 3339); names of NSM's wire contract. */
export const tokenHeader = "nsm-client-token";
export const tokenExpiresHeader = "nsm-client-token-expires";

/** Longest time that the 32-bit timers on both sides honour; a later deadline is not sent. */
const maxTimeoutMs = 2 ** 31 - 1;
/** Bound of a unary call whose caller gives none or a longer one. */
export const longestCallMs = 60_000;

export interface Caller {
  unary<I, O>(method: Method<I, O>, address: Address, input: I, options: CallOptions): Promise<O>;
  stream<I, O>(method: Method<I, O>, address: Address, input: I, options: CallOptions): AsyncIterable<O>;
}

/** @param identity  signs a token for each call; absent = none */
export function createCaller(pool: ChannelPool, identity?: Identity): Caller {
  return {
    async unary(method, address, input, options) {
      for (let mayRepeat = true; ; mayRepeat = false) {
        const lease = await leaseOf(pool, address, options.signal);
        const headers = requestHeaders(options, lease, identity);
        try {
          const passage = passageOf(method, input, lease);
          const output = await runUnary(method, address, passage?.input ?? input, options, headers, lease);
          return passage?.answer(output) ?? output;
        } catch (error) {
          if (!mayRepeat || !refusedUnseen(error)) throw error;
        }
      }
    },
    async *stream(method, address, input, options) {
      for (let mayRepeat = true; ; mayRepeat = false) {
        const lease = await leaseOf(pool, address, options.signal);
        const headers = requestHeaders(options, lease, identity);
        try {
          const passage = passageOf(method, input, lease);
          for await (const message of runStream(method, address, input, options, headers, lease)) {
            mayRepeat = false;
            yield passage?.answer(message) ?? message;
          }
          return;
        } catch (error) {
          if (!mayRepeat || !refusedUnseen(error)) throw error;
        }
      }
    },
  };
}

/** The call in the terms of a connection that passes descriptors. A refusal gives the connection back. */
function passageOf<I, O>(method: Method<I, O>, input: I, lease: Lease): Passage<I, O> | undefined {
  if (lease.descriptors === undefined) return undefined;
  try {
    return passFiles(method, input, lease.descriptors);
  } catch (error) {
    lease.release("done");
    throw error;
  }
}

/**
 * A server that wants its clients on new connections (its certificate was renewed, it drains) refuses streams that cross
 * its word; the other end has not looked at them (RFC 9113 §8.7), so they may be sent again.
 */
function refusedUnseen(error: unknown): boolean {
  return isStatusError(error) && error.code === Code.UNAVAILABLE && error.details.endsWith(refusedText);
}
/** As grpc-js words NGHTTP2_REFUSED_STREAM. */
const refusedText = "Stream refused by server";

/** Whether a call failed before a byte of it was sent: nothing can have happened at the other end. */
export function neverSent(error: unknown): boolean {
  return error instanceof Error && unsent.has(error);
}
const unsent = new WeakSet<Error>();

async function leaseOf(pool: ChannelPool, address: Address, signal: AbortSignal): Promise<Lease> {
  // Many calls may share one signal; Node warns of a leak at eleven.
  setMaxListeners(0, signal);
  try {
    return await pool.lease(address, signal);
  } catch (error) {
    const status = signal.aborted ? toStatusError(signal.reason) : toStatusError(error);
    unsent.add(status);
    throw status;
  }
}

function runUnary<I, O>(
  method: Method<I, O>,
  address: Address,
  input: I,
  options: CallOptions,
  headers: Metadata,
  lease: Lease,
): Promise<O> {
  const { signal } = options;
  return new Promise<O>((resolve, reject) => {
    const cancel = (): void => call.cancel();
    const done = (error: ServiceError | null, output?: O): void => {
      signal.removeEventListener("abort", cancel);
      lease.lost.removeEventListener("abort", cancel);
      if (error === null) {
        lease.release("done");
        resolve(output as O);
      } else {
        lease.release(endOf(error));
        reject(failure(error, address, signal, lease));
      }
    };
    const call = withoutStacks(() =>
      lease.client.makeUnaryRequest<I, O>(
        method.path,
        (message) => encodeMessage(method.request, message),
        (bytes) => method.response.decode(bytes),
        input,
        headers,
        unaryDeadline(options.deadlineMs),
        done,
      ),
    );
    if (options.onHeader !== undefined) call.on("metadata", (header) => tellHeaders(header, options));
    signal.addEventListener("abort", cancel);
    lease.lost.addEventListener("abort", cancel);
    if (signal.aborted || lease.lost.aborted) cancel();
  });
}

/** grpc-js records the stack of every call, for an error that may come; that is a twentieth of all its work. */
function withoutStacks<T>(start: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return start();
  } finally {
    Error.stackTraceLimit = limit;
  }
}

async function* runStream<I, O>(
  method: Method<I, O>,
  address: Address,
  input: I,
  options: CallOptions,
  headers: Metadata,
  lease: Lease,
): AsyncIterable<O> {
  const { signal } = options;
  const call = lease.client.makeServerStreamRequest<I, O>(
    method.path,
    (message) => encodeMessage(method.request, message),
    (bytes) => method.response.decode(bytes),
    input,
    headers,
    streamDeadline(options.deadlineMs),
  );
  let ended: CallEnd | undefined;
  const cancel = (): void => call.cancel();
  // also after the consumer has left: an error event nobody hears would end the process
  call.on("error", (error: ServiceError) => {
    ended ??= endOf(error);
  });
  call.on("end", () => {
    ended ??= "done";
  });
  signal.addEventListener("abort", cancel);
  lease.lost.addEventListener("abort", cancel);
  if (signal.aborted || lease.lost.aborted) cancel();
  try {
    for await (const message of call) yield message as O;
    if (signal.aborted) throw signal.reason;
  } catch (error) {
    throw failure(error as ServiceError, address, signal, lease);
  } finally {
    signal.removeEventListener("abort", cancel);
    lease.lost.removeEventListener("abort", cancel);
    if (ended === undefined) call.cancel();
    lease.release(ended ?? "cancelled");
  }
}

function requestHeaders(options: CallOptions, { tls }: Lease, identity: Identity | undefined): Metadata {
  const headers = new Metadata();
  const connection = tls?.current();
  options.onPeer?.(connection?.peer);
  if (identity !== undefined && connection !== undefined) {
    const { token, expiresMs } = identity.tokenFor(connection.peer, connection.svid);
    headers.set(tokenHeader, token);
    headers.set(tokenExpiresHeader, new Date(expiresMs).toISOString());
  }
  if (options.traceparent !== undefined) headers.set("traceparent", options.traceparent);
  for (const [name, value] of Object.entries(options.metadata ?? {})) headers.set(name, value);
  return headers;
}

function tellHeaders(header: Metadata, options: CallOptions): void {
  for (const [name, value] of Object.entries(header.getMap())) options.onHeader?.(name, value.toString());
}

/** Deadline of a unary call: nobody waits for an answer without end. */
function unaryDeadline(deadlineMs: number | undefined): { deadline: number } {
  return { deadline: Math.min(deadlineMs ?? Number.POSITIVE_INFINITY, Date.now() + longestCallMs) };
}

function streamDeadline(deadlineMs: number | undefined): { deadline?: number } {
  if (deadlineMs === undefined || deadlineMs - Date.now() > maxTimeoutMs) return {};
  return { deadline: deadlineMs };
}

function endOf(error: ServiceError): CallEnd {
  if (error.code === Code.CANCELLED) return "cancelled";
  if (error.code === Code.DEADLINE_EXCEEDED) return "timed out";
  return error.code === Code.UNAVAILABLE ? "unavailable" : "done";
}

/** What the caller is told: the reason of its own abort, else the status of the other end with its address. */
function failure(error: Error | ServiceError, address: Address, signal: AbortSignal, lease: Lease): StatusError {
  if (signal.aborted) return toStatusError(signal.reason);
  const url = formatAddress(address);
  if (lease.lost.aborted) return statusError(Code.UNAVAILABLE, `${url}: the connection is dead`, error);
  const status = toStatusError(error);
  if (status.code !== Code.UNAVAILABLE && status.code !== Code.DEADLINE_EXCEEDED) return status;
  // without a cause: that of gRPC says the same, and its stack is that of gRPC's own calls
  return statusError(status.code, status.details.includes(url) ? status.details : `${url}: ${status.details}`);
}
