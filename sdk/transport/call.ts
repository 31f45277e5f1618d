/** One remote call over a pooled connection: signal in, status error out. */
import { setMaxListeners } from "node:events";
import type { Identity } from "../identity/identity.js";
import type { PeerIdentity } from "../peer.js";
import { Code, isStatusError, type StatusError, statusError, toStatusError } from "../status.js";
import { type Address, formatAddress } from "./address.js";
import type { CallEnd, ChannelPool, Lease } from "./channel-pool.js";
import { type Passage, passFiles } from "./descriptors/client-calls.js";
import type { CallStatus, ClientCall } from "./h2/client.js";
import type { Fields } from "./h2/header-decoder.js";
import { encodeMessage, type Method } from "./methods.js";
import { hintedBy } from "./retry-hint.js";
import { createAnswers } from "./stream-answers.js";

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
          const output = await runUnary(method, address, passage?.input ?? input, options, headers, lease, pool.maxMessageBytes);
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
  return isStatusError(error) && unseen.has(error);
}
const unseen = new WeakSet<Error>();

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
  fields: Fields,
  lease: Lease,
  maxBytes: number,
): Promise<O> {
  const { signal } = options;
  return new Promise<O>((resolve, reject) => {
    let answer: Buffer | undefined;
    let call: ClientCall | undefined;
    const cancel = (): void => call?.cancel();
    const done = (status: CallStatus): void => {
      signal.removeEventListener("abort", cancel);
      lease.release(endOf(status));
      try {
        if (status.code !== Code.OK) throw failure(status, address, signal);
        if (answer === undefined) throw statusError(Code.INTERNAL, `${method.path}: the answer has no message`);
        resolve(method.response.decode(answer));
      } catch (error) {
        reject(isStatusError(error) ? error : undecodable(method, error));
      }
    };
    try {
      signal.throwIfAborted();
      call = lease.connection.call(
        {
          path: method.path,
          fields,
          message: bounded(encodeMessage(method.request, input), maxBytes),
          deadlineMs: unaryDeadline(options.deadlineMs),
          paced: false,
        },
        {
          header: headerTeller(options),
          message(bytes) {
            answer = bytes;
          },
          end: done,
        },
      );
      signal.addEventListener("abort", cancel);
    } catch (error) {
      lease.release("done");
      reject(signal.aborted ? toStatusError(signal.reason) : toStatusError(error));
    }
  });
}

async function* runStream<I, O>(
  method: Method<I, O>,
  address: Address,
  input: I,
  options: CallOptions,
  fields: Fields,
  lease: Lease,
): AsyncIterable<O> {
  const { signal } = options;
  const answers = createAnswers();
  let call: ClientCall;
  try {
    signal.throwIfAborted();
    const message = encodeMessage(method.request, input);
    const deadlineMs = options.deadlineMs;
    call = lease.connection.call({ path: method.path, fields, message, deadlineMs, paced: true }, answers.events);
  } catch (error) {
    lease.release("done");
    throw toStatusError(signal.aborted ? signal.reason : error);
  }
  const cancel = (): void => call.cancel();
  signal.addEventListener("abort", cancel);
  try {
    for (;;) {
      const next = await answers.next();
      if ("code" in next) {
        if (signal.aborted) throw toStatusError(signal.reason);
        if (next.code !== Code.OK) throw failure(next, address, signal);
        return;
      }
      call.used();
      yield decodeAnswer(method, next);
    }
  } finally {
    signal.removeEventListener("abort", cancel);
    const ended = answers.ended();
    if (ended === undefined) call.cancel();
    lease.release(ended === undefined ? "cancelled" : endOf(ended));
  }
}

function decodeAnswer<O>(method: Pick<Method<unknown, O>, "path" | "response">, bytes: Buffer): O {
  try {
    return method.response.decode(bytes);
  } catch (error) {
    throw undecodable(method, error);
  }
}

function undecodable({ path }: { readonly path: string }, error: unknown): StatusError {
  return statusError(Code.INTERNAL, `${path}: the answer is no valid protobuf message`, error);
}

function bounded(bytes: Buffer, maxBytes: number): Buffer {
  if (bytes.length <= maxBytes) return bytes;
  throw statusError(Code.RESOURCE_EXHAUSTED, `a message of ${bytes.length} bytes is larger than the ${maxBytes} that are sent`);
}

function requestHeaders(options: CallOptions, { tls }: Lease, identity: Identity | undefined): Fields {
  const fields: string[] = [];
  const connection = tls?.current();
  options.onPeer?.(connection?.peer);
  if (identity !== undefined && connection !== undefined) {
    const { token, expiresMs } = identity.tokenFor(connection.peer, connection.svid);
    fields.push(tokenHeader, token, tokenExpiresHeader, new Date(expiresMs).toISOString());
  }
  if (options.traceparent !== undefined) fields.push("traceparent", options.traceparent);
  if (options.metadata !== undefined) for (const [name, value] of Object.entries(options.metadata)) fields.push(name, value);
  return fields;
}

function headerTeller({ onHeader }: CallOptions): ((fields: Fields) => void) | undefined {
  if (onHeader === undefined) return undefined;
  return (fields) => {
    for (let at = 0; at < fields.length; at += 2) {
      const name = fields[at] as string;
      if (!name.startsWith(":")) onHeader(name, fields[at + 1] as string);
    }
  };
}

/** Deadline of a unary call: nobody waits for an answer without end. */
function unaryDeadline(deadlineMs: number | undefined): number {
  return Math.min(deadlineMs ?? Number.POSITIVE_INFINITY, Date.now() + longestCallMs);
}

function endOf({ code }: CallStatus): CallEnd {
  if (code === Code.CANCELLED) return "cancelled";
  return code === Code.DEADLINE_EXCEEDED ? "timed out" : "done";
}

/** What the caller is told: the reason of its own abort, else the status of the other end with its address. */
function failure({ code, details, fields, unseen: unlooked }: CallStatus, address: Address, signal: AbortSignal): StatusError {
  if (signal.aborted) return toStatusError(signal.reason);
  if (code !== Code.UNAVAILABLE && code !== Code.DEADLINE_EXCEEDED) return hintedBy(statusError(code as Code, details), fields);
  const url = formatAddress(address);
  const status = statusError(code, details.includes(url) ? details : `${url}: ${details}`);
  if (unlooked) unseen.add(status);
  return hintedBy(status, fields);
}
