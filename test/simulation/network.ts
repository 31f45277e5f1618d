/**
 * The network of a world: calls and streams with latency, in which connections break, packets vanish and answers come too late. It
 * takes the place of gRPC below sdk/transport: services are bound to it and dialed through it as usual.
 */
import type { CallContext } from "../../sdk/chain.js";
import type { Peer } from "../../sdk/peer.js";
import { Code, statusError, toStatusError } from "../../sdk/status.js";
import { formatAddress } from "../../sdk/transport/address.js";
import type { Caller, CallOptions } from "../../sdk/transport/call.js";
import { dialerOver } from "../../sdk/transport/dial.js";
import type { Edge, ServiceBinding } from "../../sdk/transport/edge.js";
import { leavingStatus, streamStatus } from "../../sdk/transport/edge-status.js";
import { type Codec, encodeMessage } from "../../sdk/transport/methods.js";
import type { Transport } from "../../sdk/transport/transport.js";
import { drained, type LiveCall, type Server } from "./server.js";
import { copyOf, type Heard, readStream, type Under } from "./under-way.js";
import type { SimProcess, World } from "./world.js";

export interface Network {
  /** As that process sees it. */
  transportOf(process: SimProcess): Transport;
  /** Calls between these nodes vanish without an answer, both ways. */
  cut(one: string, other: string, isCut: boolean): void;
  isCut(one: string, other: string): boolean;
  /** Share of calls whose connection breaks before or after the other end has worked on them. */
  lossShare: number;
  /** Added to each way, at most. */
  extraLatencyMs: number;
}

/** What the other end reads is what was written: nobody shares an object, and what the codec drops is gone. */
function overTheWire<T>(codec: Codec<T>, message: T): T {
  return codec.decode(encodeMessage(codec, message));
}

/** A connection that does not come about is given up after so long (dialTimeoutMs of the components). */
const dialTimeoutMs = 750;
/** How long a stream over a dead cable stays silent until keepalive ends it. */
const keepaliveMs = 10_000;
const longestCallMs = 60_000;

export function createNetwork(world: World): Network {
  const servers = new Map<string, Server>();
  const cuts = new Set<string>();
  const pairOf = (one: string, other: string): string => [one, other].sort().join(" ");
  const network: Network = {
    transportOf: (process) => ({
      createDialer: (options) => dialerOver(callerOf(process), options.identity, () => {}),
      async listen({ urls, services }) {
        const server = serve(process, services);
        for (const url of urls) servers.set(url, server);
        process.onDeath.add(() => unlisten(server));
        return {
          urls,
          async drain(timeoutMs) {
            await drained(server, timeoutMs);
            unlisten(server);
          },
        };
      },
    }),
    cut: (one, other, isCut) => void (isCut ? cuts.add(pairOf(one, other)) : cuts.delete(pairOf(one, other))),
    isCut: (one, other) => cuts.has(pairOf(one, other)),
    lossShare: 0,
    extraLatencyMs: 0,
  };

  function unlisten(server: Server): void {
    for (const [url, known] of servers) if (known === server) servers.delete(url);
  }

  function serve(process: SimProcess, services: readonly ServiceBinding[]): Server {
    const server: Server = { process, unary: new Map(), streams: new Map(), live: new Set(), shutdown: undefined };
    const edge: Edge = {
      services: services.map(({ name }) => name),
      unary: (method, answer) => void server.unary.set(method.path, answer as never),
      stream: (method, answer) => void server.streams.set(method.path, answer as never),
      duplex() {},
    };
    for (const service of services) service.bind(edge);
    return server;
  }

  const latencyMs = (one: SimProcess, other: SimProcess): number =>
    (one.node === other.node ? 0.1 : 0.5) + world.chance.next() * (1 + network.extraLatencyMs);

  function contextOf(from: SimProcess, to: Server, options: CallOptions, live: LiveCall): CallContext {
    const unix: Peer = { kind: "unix", pid: from.pid, uid: 0, gid: 0 };
    const peer: Peer = from.node === to.process.node ? unix : { kind: "tcp", address: from.node };
    return {
      signal: live.controller.signal,
      // it travels as the time that is left
      deadlineMs: options.deadlineMs && options.deadlineMs - from.clockOffsetMs + to.process.clockOffsetMs,
      peer,
      metadata: (name) => (Object.hasOwn(options.metadata ?? {}, name) ? [options.metadata?.[name] ?? ""] : []),
      reply: (name, value) => options.onHeader?.(name, value),
      traceparent: options.traceparent,
    };
  }

  /** One call on its way: what each side does with its end. */
  function open<O>(from: SimProcess, url: string, options: CallOptions, isStream: boolean, heard: Heard<O>): Under {
    const later = (process: SimProcess, delayMs: number, action: () => void): void =>
      void world.at(world.nowMs() + delayMs, process, action);
    let ended = false;
    let server: Server | undefined;
    let live: LiveCall | undefined;
    let nextAtMs = 0;
    const breaks = world.chance.next() < network.lossShare;
    const brokenAfter = world.chance.next() < 0.5;
    const end = (error: Error | undefined): void => {
      if (ended) return;
      ended = true;
      options.signal.removeEventListener("abort", aborted);
      from.onDeath.delete(gone);
      server?.process.onDeath.delete(lost);
      heard.end(error);
    };
    /** The other end learns that nobody waits any more. */
    const hangUp = (): void => {
      const [target, call] = [server, live];
      if (target === undefined || call === undefined) return;
      later(target.process, latencyMs(from, target.process), () =>
        call.controller.abort(new DOMException("the caller has gone", "AbortError")),
      );
    };
    const aborted = (): void => {
      hangUp();
      end(toStatusError(options.signal.reason));
    };
    const gone = (): void => {
      ended = true;
      hangUp();
    };
    const lost = (): void => {
      const target = server;
      if (target === undefined) return;
      const silent = network.isCut(from.node, target.process.node);
      later(from, silent ? keepaliveMs : latencyMs(from, target.process), () =>
        end(statusError(Code.UNAVAILABLE, `${url}: the connection is dead`)),
      );
    };
    from.onDeath.add(gone);
    options.signal.addEventListener("abort", aborted);
    if (!isStream) {
      const limitMs = Math.min((options.deadlineMs ?? Number.POSITIVE_INFINITY) - Date.now(), longestCallMs);
      later(from, limitMs, () => {
        hangUp();
        end(statusError(Code.DEADLINE_EXCEEDED, `${url}: the deadline has passed`));
      });
    }
    const back = (action: () => void): void => {
      const target = server;
      if (target === undefined) return;
      nextAtMs = Math.max(nextAtMs, world.nowMs() + latencyMs(target.process, from));
      const deliver = (): void => {
        if (!network.isCut(from.node, target.process.node)) action();
        else if (isStream)
          world.at(world.nowMs() + keepaliveMs, from, () => end(statusError(Code.UNAVAILABLE, `${url}: keepalive`)));
      };
      world.at(nextAtMs, from, deliver);
    };
    return {
      send(work) {
        const target = servers.get(url);
        if (target === undefined || (breaks && !brokenAfter)) {
          later(from, 0.2 + world.chance.next(), () => end(statusError(Code.UNAVAILABLE, `${url}: connection refused`)));
          return;
        }
        if (network.isCut(from.node, target.process.node)) {
          later(from, dialTimeoutMs, () =>
            end(statusError(Code.UNAVAILABLE, `${url}: no connection within ${dialTimeoutMs} ms`)),
          );
          return;
        }
        server = target;
        later(target.process, latencyMs(from, target.process), () => {
          if (ended) return;
          target.process.onDeath.add(lost);
          live = { controller: new AbortController(), isStream };
          if (breaks) later(from, latencyMs(target.process, from), lost);
          work(target, live, contextOf(from, target, options, live), back);
        });
        // it may die before the call arrives
        target.process.onDeath.add(lost);
      },
      finish: (error) => back(() => end(error)),
      leave() {
        hangUp();
        end(undefined);
      },
      isOver: () => ended,
      aborted,
    };
  }

  function callerOf(from: SimProcess): Caller {
    return {
      unary: (method, address, input, options) =>
        new Promise((resolve, reject) => {
          const url = formatAddress(address);
          const asSent = overTheWire(method.request, input);
          let output: unknown;
          const call = open(from, url, options, false, {
            end: (error) => (error === undefined ? resolve(output as never) : reject(error)),
          });
          if (options.signal.aborted) return call.aborted();
          call.send((server, live, context) => {
            const answer = server.unary.get(method.path);
            const refused = server.shutdown ?? (answer === undefined ? statusError(Code.UNIMPLEMENTED, method.path) : undefined);
            if (answer === undefined || refused !== undefined) return call.finish(refused);
            server.live.add(live);
            answer(asSent, context)
              .then(
                (value) => {
                  output = overTheWire(method.response, value as never);
                  call.finish(undefined);
                },
                (error: unknown) => call.finish(copyOf(leavingStatus(error, live.controller.signal))),
              )
              .finally(() => server.live.delete(live));
          });
        }),
      stream: (method, address, input, options) => {
        const url = formatAddress(address);
        return readStream((heard) => {
          const call = open(from, url, options, true, heard);
          if (options.signal.aborted) {
            call.aborted();
            return call;
          }
          call.send((server, live, context, back) => {
            const answer = server.streams.get(method.path);
            const refused = server.shutdown ?? (answer === undefined ? statusError(Code.UNIMPLEMENTED, method.path) : undefined);
            if (answer === undefined || refused !== undefined) return call.finish(refused);
            server.live.add(live);
            const { signal } = live.controller;
            const pump = async (): Promise<void> => {
              for await (const message of answer(input, context)) {
                if (signal.aborted) break;
                const asSent = overTheWire(method.response, message as never);
                back(() => heard.message?.(asSent));
              }
              signal.throwIfAborted();
            };
            pump()
              .then(
                () => call.finish(undefined),
                (error: unknown) => call.finish(copyOf(streamStatus(leavingStatus(error, signal), signal))),
              )
              .finally(() => server.live.delete(live));
          });
          return call;
        });
      },
    };
  }
  return network;
}
