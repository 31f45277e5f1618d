/** Watchers of a registry, those that read and those that do not. */
import { connect, type Socket } from "node:net";
import { NetworkServiceEndpoint, NetworkServiceEndpointQuery } from "../../sdk/gen/registry.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { openConnection } from "../../sdk/transport/h2/client.js";
import { methods } from "../../sdk/transport/methods.js";
import type { Endpoints } from "../registry-entries.js";

/** Watches on one connection. */
const perConnection = 100;
const patienceMs = 60_000;

export interface Fast {
  readonly count: number;
  /** Milliseconds from a change to its arrival at each watcher. */
  readonly latenciesMs: number[];
  /** Makes a change and waits until all have heard of it. */
  told(change: () => Promise<unknown>): Promise<void>;
  stop(): void;
}

const asIs = (endpoints: Endpoints): Endpoints => endpoints;

/**
 * Opens watches of one name, and waits until each has heard of it.
 * @param as  the registry as its server wants to be asked
 */
export async function watchAll(url: string, count: number, name: string, as = asIs): Promise<Fast> {
  const ending = new AbortController();
  const dialers = Array.from({ length: Math.ceil(count / perConnection) }, () => createDialer({ dialTimeoutMs: 5_000 }));
  const latenciesMs: number[] = [];
  let changedMs = performance.now();
  let heard = 0;
  let failure: unknown;
  let wake = (): void => {};
  const watch = async (endpoints: Endpoints): Promise<void> => {
    const query = NetworkServiceEndpoint.fromPartial({ name });
    for await (const _found of endpoints.find(query, { watch: true, signal: ending.signal })) {
      latenciesMs.push(performance.now() - changedMs);
      if (++heard === count) wake();
    }
  };
  const told = async (change: () => Promise<unknown>): Promise<void> => {
    heard = 0;
    changedMs = performance.now();
    const all = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const late = setTimeout(() => {
      failure ??= new Error(`only ${heard} of ${count} watchers heard of a change within ${patienceMs} ms`);
      wake();
    }, patienceMs);
    await change();
    await all;
    clearTimeout(late);
    if (failure !== undefined) throw failure;
  };
  await told(async () => {
    for (let i = 0; i < count; i++) {
      const dialer = dialers[Math.floor(i / perConnection)];
      if (dialer !== undefined) {
        watch(as(dialer.endpointRegistry(url))).catch((error: unknown) => {
          if (!ending.signal.aborted) failure ??= error;
        });
      }
    }
  });
  return {
    count,
    latenciesMs,
    told,
    stop() {
      ending.abort();
      for (const dialer of dialers) dialer.close();
    },
  };
}

/** Opens watches of a service of which nothing is read after the first answers: half leave the bytes in the socket, half give no window back. */
export async function doNotRead(url: string, count: number, service: string): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const query = {
    network_service_endpoint: NetworkServiceEndpoint.fromPartial({ network_service_names: [service] }),
    watch: true,
  };
  const message = NetworkServiceEndpointQuery.encode(query).finish();
  for (let opened = 0, deaf = false; opened < count; deaf = !deaf) {
    const socket = connect(Number(url.slice(url.lastIndexOf(":") + 1)), "127.0.0.1");
    sockets.push(socket);
    await new Promise<void>((resolve) => {
      const watches = Math.min(perConnection / 4, count - opened);
      opened += watches;
      let answered = 0;
      const first = (): void => {
        if (++answered !== watches) return;
        if (deaf) socket.pause();
        resolve();
      };
      const connection = openConnection({
        socket,
        secure: false,
        authority: "registry",
        maxMessageBytes: 4 << 20,
        onReady() {
          for (let i = 0; i < watches; i++) {
            const start = { path: methods.findEndpoints.path, fields: [], message, deadlineMs: undefined, paced: true };
            connection.call(start, { message: first, end() {} });
          }
        },
        onGone() {},
      });
    });
  }
  return sockets;
}
