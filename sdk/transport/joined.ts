/**
 * The transport of a process that is several components: they are reachable over their sockets as ever, and reach each other
 * by a call of a function, with the semantics of a wire: own signal for each side, deadlines, statuses without their
 * causes, an end when the other one stops. Nothing is encoded; messages are immutable, so nobody notices.
 */
import type { CallContext } from "../chain.js";
import type { Identity } from "../identity/identity.js";
import type { Peer, PeerIdentity } from "../peer.js";
import { Code, type StatusError, statusError, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { formatAddress } from "./address.js";
import { type Caller, type CallOptions, longestCallMs, tokenExpiresHeader, tokenHeader } from "./call.js";
import { dialerOver, remoteCaller } from "./dial.js";
import type { Edge, ServiceBinding } from "./edge.js";
import { leavingStatus, logFailure, streamStatus } from "./edge-status.js";
import { armDeadline, disarmDeadline } from "./h2/deadlines.js";
import { listen } from "./listen.js";
import type { Method } from "./methods.js";
import type { Transport } from "./transport.js";

type Unary = (input: unknown, context: CallContext) => Promise<unknown>;
type Streaming = (input: unknown, context: CallContext) => AsyncIterable<unknown>;

interface Server {
  readonly unary: Map<string, Unary>;
  readonly streams: Map<string, Streaming>;
  readonly calls: Set<AbortController>;
  readonly open: Set<AbortController>;
  readonly log: Log;
  /** Set while it drains: what new calls are told. */
  shutdown: StatusError | undefined;
  idle: () => void;
}

/** To be given to each component of the process. */
export function joinedTransport(): Transport {
  const servers = new Map<string, Server>();
  return {
    createDialer(options) {
      const { caller, close } = remoteCaller(options);
      return dialerOver(joinedCaller(servers, caller, options.identity), options.identity, close);
    },
    async listen(options) {
      const server = serverOf(options.services, options.log);
      const listener = await listen(options);
      for (const url of listener.urls) servers.set(url, server);
      return {
        urls: listener.urls,
        async drain(timeoutMs) {
          await Promise.all([drain(server, timeoutMs), listener.drain(timeoutMs)]);
          for (const url of listener.urls) if (servers.get(url) === server) servers.delete(url);
        },
      };
    },
  };
}

function serverOf(services: readonly ServiceBinding[], log: Log): Server {
  const server: Server = {
    unary: new Map(),
    streams: new Map(),
    calls: new Set(),
    open: new Set(),
    log,
    shutdown: undefined,
    idle() {},
  };
  const edge: Edge = {
    services: services.map(({ name }) => name),
    unary: (method, answer) => void server.unary.set(method.path, answer as Unary),
    stream: (method, answer) => void server.streams.set(method.path, answer as Streaming),
    // nobody of ours streams both ways to a neighbour
    duplex() {},
  };
  for (const service of services) service.bind(edge);
  return server;
}

async function drain(server: Server, timeoutMs: number): Promise<void> {
  server.shutdown ??= statusError(Code.UNAVAILABLE, "this component is shutting down; try again");
  for (const controller of [...server.open]) controller.abort(server.shutdown);
  if (server.calls.size > 0 && timeoutMs > 0) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      server.idle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  for (const controller of [...server.calls]) controller.abort(server.shutdown);
}

function joinedCaller(servers: ReadonlyMap<string, Server>, remote: Caller, identity: Identity | undefined): Caller {
  return {
    unary(method, address, input, options) {
      const url = formatAddress(address);
      const server = servers.get(url);
      if (server === undefined) return remote.unary(method, address, input, options);
      return callHere(server, method, url, input, options, identity);
    },
    stream(method, address, input, options) {
      const url = formatAddress(address);
      const server = servers.get(url);
      if (server === undefined) return remote.stream(method, address, input, options);
      return streamHere(server, method, url, input, options, identity);
    },
  };
}

function callHere<I, O>(
  server: Server,
  method: Method<I, O>,
  url: string,
  input: I,
  options: CallOptions,
  identity: Identity | undefined,
): Promise<O> {
  const { signal } = options;
  const answer = server.unary.get(method.path);
  const refused = refusal(server, method.path, answer, url);
  if (signal.aborted) return Promise.reject(toStatusError(signal.reason));
  if (answer === undefined || refused !== undefined) return Promise.reject(refused);
  return new Promise<O>((resolve, reject) => {
    const controller = new AbortController();
    const deadlineMs = Math.min(options.deadlineMs ?? Number.POSITIVE_INFINITY, Date.now() + longestCallMs);
    /** Set when the caller has got an error, and what the chain wants undone then. */
    const gone: { is: boolean; undo: (() => void) | undefined } = { is: false, undo: undefined };
    const whenUntaken: CallContext["whenUntaken"] = (undo) => {
      gone.undo = undo;
    };
    const context: CallContext = { ...contextOf(controller.signal, deadlineMs, options, identity), whenUntaken };
    const cut = (): void => {
      done();
      gone.is = true;
      controller.abort(signal.reason);
      reject(toStatusError(signal.reason));
    };
    const deadline = armDeadline(deadlineMs, () => {
      done();
      gone.is = true;
      controller.abort(new DOMException(`${method.path}: the deadline has passed`, "TimeoutError"));
      reject(statusError(Code.DEADLINE_EXCEEDED, `${url}: the deadline has passed`));
    });
    const done = (): void => {
      disarmDeadline(deadline);
      signal.removeEventListener("abort", cut);
    };
    const ended = (): void => {
      done();
      server.calls.delete(controller);
      if (server.shutdown !== undefined && server.calls.size === 0) server.idle();
    };
    server.calls.add(controller);
    signal.addEventListener("abort", cut);
    answered(answer, input, context).then(
      (output) => {
        ended();
        if (gone.is) gone.undo?.();
        gone.undo = undefined;
        resolve(output as O);
      },
      (error: unknown) => {
        ended();
        const status = leavingStatus(error, controller.signal);
        if (status !== server.shutdown) logFailure(server.log, method.path, status, context, input);
        reject(told(status, url));
      },
    );
  });
}

/** An answer that throws at once is one that rejects. */
async function answered(answer: Unary, input: unknown, context: CallContext): Promise<unknown> {
  return answer(input, context);
}

async function* streamHere<I, O>(
  server: Server,
  method: Method<I, O>,
  url: string,
  input: I,
  options: CallOptions,
  identity: Identity | undefined,
): AsyncIterable<O> {
  const { signal } = options;
  if (signal.aborted) throw toStatusError(signal.reason);
  const answer = server.streams.get(method.path);
  const refused = refusal(server, method.path, answer, url);
  if (answer === undefined || refused !== undefined) throw refused;
  const controller = new AbortController();
  const cut = (): void => controller.abort(signal.reason);
  signal.addEventListener("abort", cut);
  server.open.add(controller);
  const context = contextOf(controller.signal, options.deadlineMs, options, identity);
  const deadline =
    options.deadlineMs === undefined
      ? undefined
      : armDeadline(options.deadlineMs, () =>
          controller.abort(new DOMException(`${method.path}: the deadline has passed`, "TimeoutError")),
        );
  try {
    for await (const message of answer(input, context)) {
      if (controller.signal.aborted) break;
      yield message as O;
    }
    controller.signal.throwIfAborted();
  } catch (error) {
    if (signal.aborted) throw toStatusError(signal.reason);
    const status = leavingStatus(error, controller.signal);
    if (status !== server.shutdown) logFailure(server.log, method.path, status, context, input);
    throw told(streamStatus(status, controller.signal) ?? status, url);
  } finally {
    signal.removeEventListener("abort", cut);
    if (deadline !== undefined) disarmDeadline(deadline);
    server.open.delete(controller);
    controller.abort(new DOMException(`${method.path}: the caller has gone`, "AbortError"));
  }
}

function refusal(server: Server, path: string, answer: unknown, url: string): StatusError | undefined {
  if (server.shutdown !== undefined) return told(server.shutdown, url);
  return answer === undefined ? statusError(Code.UNIMPLEMENTED, `there is no method ${path} here`) : undefined;
}

/** As it would come over a wire: the cause stays with who had it. */
function told({ code, details }: StatusError, url: string): StatusError {
  const wire = code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED;
  return statusError(code, wire && !details.includes(url) ? `${url}: ${details}` : details);
}

function contextOf(
  signal: AbortSignal,
  deadlineMs: number | undefined,
  options: CallOptions,
  identity: Identity | undefined,
): CallContext {
  const peer = peerOf(identity);
  const own = peer.kind === "unix" ? peer.identity : undefined;
  options.onPeer?.(own);
  const headers = new Map(Object.entries(options.metadata ?? {}));
  if (identity !== undefined && own !== undefined) {
    const { token, expiresMs } = identity.tokenFor(own, identity.current());
    headers.set(tokenHeader, token);
    headers.set(tokenExpiresHeader, new Date(expiresMs).toISOString());
  }
  return {
    signal,
    deadlineMs,
    peer,
    metadata(name) {
      const value = headers.get(name);
      return value === undefined ? [] : [value];
    },
    reply: (name, value) => options.onHeader?.(name, value),
    traceparent: options.traceparent,
  };
}

const here = { kind: "unix", pid: process.pid, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 } as const;
const selves = new WeakMap<object, PeerIdentity>();

/** This process as its own neighbour, with the identity that it shows to everybody. */
function peerOf(identity: Identity | undefined): Peer {
  const svid = identity?.current();
  const [leaf] = svid?.certificates ?? [];
  if (identity === undefined || svid === undefined || leaf === undefined) return here;
  let self = selves.get(svid);
  if (self === undefined) {
    self = {
      spiffeId: svid.id.id,
      certificatePem: leaf.toString(),
      publicKey: leaf.publicKey,
      notAfterMs: svid.notAfterMs,
    };
    identity.showed(self, svid);
    selves.set(svid, self);
  }
  return { ...here, spiffeId: self.spiffeId, identity: self };
}
