/**
 * The network of a world: calls and streams with latency, in which connections break, packets vanish and answers come too late. It
 * takes the place of gRPC below sdk/transport: services are bound to it and dialed through it as usual.
 */
import { Code, statusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { formatAddress } from "../../sdk/transport/address.js";
import type { Caller } from "../../sdk/transport/call.js";
import { dialerOver } from "../../sdk/transport/dial.js";
import type { Edge, ServiceBinding } from "../../sdk/transport/edge.js";
import { leavingStatus, streamStatus } from "../../sdk/transport/edge-status.js";
import { type Codec, encodeMessage } from "../../sdk/transport/methods.js";
import type { Transport } from "../../sdk/transport/transport.js";
import { brief } from "./brief.js";
import { answerCall, drained, newServer, type Server } from "./server.js";
import { copyOf, readStream, underWay, type Way } from "./under-way.js";
import { createWire, type Wire } from "./wire.js";
import type { SimProcess, World } from "./world.js";

export interface Network {
  /** As that process sees it. */
  transportOf(process: SimProcess): Transport;
  readonly wire: Wire;
  /** Share of calls whose connection breaks before or after the other end has worked on them. */
  lossShare: number;
  /** Share of calls that come to the other end twice. */
  twiceShare: number;
  /** Told of every call when it is sent; what it returns is told when it was answered with success. */
  onAsk: (from: SimProcess, url: string, path: string, input: unknown) => (() => void) | undefined;
  /** Calls and streams that a process has open, each kind with its number; a Find is a kind of its own for each query. */
  openOf(process: SimProcess): ReadonlyMap<string, number>;
  /** Calls and streams of others that a process works on. */
  servedBy(process: SimProcess): number;
}

/** Half of those that come twice end as ever; of the others the caller calls off the one that it did not take. */
const twiceKinds = ["first", "first", "first alone", "second alone"] as const;

/** The kind of all calls that are no streams. */
export const oneCall = "calls";

/** What the other end reads is what was written: nobody shares an object, and what the codec drops is gone. */
function overTheWire<T>(codec: Codec<T>, message: T): T {
  return codec.decode(encodeMessage(codec, message));
}

/** @param log  told of every call, when somebody reads it */
export function createNetwork(world: World, log?: Log): Network {
  const servers = new Map<string, Server>();
  const opens = new WeakMap<SimProcess, Map<string, number>>();
  const network: Network = {
    wire: createWire(world),
    lossShare: 0,
    twiceShare: 0,
    onAsk: () => undefined,
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
    openOf: (process) => opens.get(process) ?? new Map(),
    servedBy(process) {
      let served = 0;
      for (const server of new Set(servers.values())) if (server.process === process) served += server.live.size;
      return served;
    },
  };

  function unlisten(server: Server): void {
    for (const [url, known] of servers) if (known === server) servers.delete(url);
  }

  function tell(from: SimProcess, to: Server, path: string, what: string, message: unknown): void {
    if (log === undefined) return;
    const about = message instanceof Error ? message.message : brief(message);
    log.debug(
      `${from.name} ${what === "asked" ? "asked" : `was ${what} by`} ${to.process.name} ${path.slice(path.lastIndexOf("/") + 1)}`,
      { about },
    );
  }

  function counter(process: SimProcess, kind: string): (more: number) => void {
    const open = opens.get(process) ?? new Map<string, number>();
    opens.set(process, open);
    return (more) => void open.set(kind, (open.get(kind) ?? 0) + more);
  }

  function wayTo(from: SimProcess, url: string, kind: string): Way {
    const breaks = world.chance.next() < network.lossShare;
    return {
      world,
      wire: network.wire,
      servers,
      from,
      url,
      breaks: breaks ? (world.chance.next() < 0.5 ? "after" : "before") : undefined,
      twice:
        kind === oneCall && network.twiceShare > 0 && world.chance.next() < network.twiceShare
          ? world.chance.pick(twiceKinds)
          : undefined,
      count: counter(from, kind),
    };
  }

  function callerOf(from: SimProcess): Caller {
    return {
      unary: (method, address, input, options) =>
        new Promise((resolve, reject) => {
          const asSent = overTheWire(method.request, input);
          const url = formatAddress(address);
          const wasAnswered = network.onAsk(from, url, method.path, input);
          let output: unknown;
          const end = (error: Error | undefined): void => {
            if (error === undefined) wasAnswered?.();
            if (error === undefined) resolve(output as never);
            else reject(error);
          };
          const call = underWay(wayTo(from, url, oneCall), options, false, { end });
          if (options.signal.aborted) return call.aborted();
          call.send((server, live, context) => {
            const { answer, refused } = methodOf(server, server.unary, method.path);
            if (answer === undefined) return call.finish(refused, live);
            server.live.add(live);
            tell(from, server, method.path, "asked", asSent);
            answer(asSent, context)
              .then(
                (value) => {
                  tell(from, server, method.path, "answered", value);
                  const answered = overTheWire(method.response, value as never);
                  answerCall(live);
                  call.finish(undefined, live, () => {
                    output = answered;
                  });
                },
                (error: unknown) => {
                  tell(from, server, method.path, "refused", error);
                  call.finish(copyOf(leavingStatus(error, live.controller.signal)), live);
                },
              )
              .finally(() => server.live.delete(live));
          });
        }),
      stream: (method, address, input, options) =>
        readStream((heard) => {
          const url = formatAddress(address);
          const kind = method.path.endsWith("Find") ? `${method.path} at ${url}: ${JSON.stringify(input)}` : method.path;
          const call = underWay(wayTo(from, url, kind), options, true, heard);
          if (options.signal.aborted) {
            call.aborted();
            return call;
          }
          call.send((server, live, context, back) => {
            const { answer, refused } = methodOf(server, server.streams, method.path);
            if (answer === undefined) return call.finish(refused, live);
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
                () => call.finish(undefined, live),
                (error: unknown) => call.finish(copyOf(streamStatus(leavingStatus(error, signal), signal)), live),
              )
              .finally(() => server.live.delete(live));
          });
          return call;
        }),
    };
  }
  return network;
}

function methodOf<T>(server: Server, methods: ReadonlyMap<string, T>, path: string) {
  const answer = server.shutdown === undefined ? methods.get(path) : undefined;
  return { answer, refused: server.shutdown ?? statusError(Code.UNIMPLEMENTED, path) };
}

function serve(process: SimProcess, services: readonly ServiceBinding[]): Server {
  const server = newServer(process);
  const edge: Edge = {
    services: services.map(({ name }) => name),
    unary: (method, answer) => void server.unary.set(method.path, answer as never),
    stream: (method, answer) => void server.streams.set(method.path, answer as never),
    duplex() {},
  };
  for (const service of services) service.bind(edge);
  return server;
}
