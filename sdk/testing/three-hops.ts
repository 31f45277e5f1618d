/** client → one → two → end: hops with the elements that all components share, joined by real sockets. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConnectionApi } from "../api.js";
import { type CallContext, chain, type Element, type Handler } from "../chain.js";
import { systemClock } from "../clock.js";
import { announce } from "../elements/announce.js";
import { enterPath } from "../elements/enter-path.js";
import { exchangeTokens } from "../elements/exchange-tokens.js";
import { expire } from "../elements/expire.js";
import { forward, type HasNextHop } from "../elements/forward.js";
import { type Serialize, serialize } from "../elements/serialize.js";
import { undo } from "../elements/undo.js";
import { Connection, type ConnectionEvent, type State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { createMonitorHub, type MonitorHub } from "../monitor/hub.js";
import { watchNeighbours } from "../monitor/neighbours.js";
import { silentLog } from "../telemetry/log.js";
import { timestampOf } from "../timestamp.js";
import { createDialer, type Dialer } from "../transport/dial.js";
import { type Listener, listen } from "../transport/listen.js";
import { connectionService, monitorService } from "../transport/services.js";
import type { Cleanup } from "./test-server.js";

interface Hop {
  readonly url: string;
  readonly serial: Serialize;
  readonly hub: MonitorHub;
  readonly listener: Listener;
}

type Mesh = {
  answer: Handler<ConnectionApi>["request"];
  forge: (answer: Connection) => Connection;
  readonly deadlines: (number | undefined)[];
};

export async function startThreeHops(t: Cleanup) {
  const folder = mkdtempSync(join(tmpdir(), "weft-hops-"));
  const stop = new AbortController();
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  const base: Mesh = {
    answer: async ({ connection }) => ({ ...Connection.fromPartial({}), ...connection }),
    forge: (answer) => answer,
    deadlines: [],
  };
  const url = (name: string): string => `unix://${folder}/${name}.sock`;
  const tools = { dialer, mesh: base, signal: stop.signal };
  let end = await startHop(url("end"), "end", undefined, tools);
  const two = await startHop(url("two"), "two", { url: url("end"), name: "end" }, tools);
  let one = await startHop(url("one"), "one", { url: url("two"), name: "two" }, tools);
  t.after(async () => {
    stop.abort();
    dialer.close();
    await Promise.all([one, two, end].map(({ listener }) => listener.drain(0)));
    rmSync(folder, { recursive: true });
  });
  const client = dialer.connections(one.url);
  return Object.assign(base, {
    async request(connection?: Connection, call: { signal?: AbortSignal; deadlineMs?: number } = {}) {
      const request = NetworkServiceRequest.fromPartial({ connection: connection ?? fresh() });
      return client.request(request, { signal: stop.signal, ...call });
    },
    close: (connection: Connection) => client.close(connection, { signal: stop.signal }),
    live: () => [one, two, end].map(({ serial }) => [...serial.connections()].length),
    stopEnd: () => end.listener.drain(0),
    async startEnd() {
      end = await startHop(url("end"), "end", undefined, tools);
    },
    async restartFirst() {
      await one.listener.drain(0);
      one = await startHop(url("one"), "one", { url: url("two"), name: "two" }, tools);
    },
    closeAtEnd() {
      for (const { id } of end.serial.connections()) end.hub.remove(Connection.fromPartial({ id }));
    },
    /** States of the connection as the client's monitor tells them. */
    states() {
      const events = dialer.monitor(one.url, { path_segments: [], network_services: [] }, stop.signal)[Symbol.asyncIterator]();
      return {
        async seen(state: State) {
          for (;;) {
            const event: ConnectionEvent = (await events.next()).value;
            if (Object.values<Connection>(event.connections).some((connection) => connection.state === state)) return;
          }
        },
      };
    },
  });
}

/**
 * What a client asks for that has nothing yet.
 * @param nextName  a hop that is to have an id of the client's choice
 */
export function fresh(nextName?: string): Connection {
  const id = randomUUID();
  const expires = timestampOf(Date.now() + 600_000);
  const next = nextName === undefined ? [] : [{ name: nextName, id: randomUUID(), token: "", metrics: {} }];
  const path = { index: 0, path_segments: [{ name: "client", id, token: "", expires, metrics: {} }, ...next] };
  return Connection.fromPartial({ id, network_service: "svc", path });
}

async function startHop(
  url: string,
  name: string,
  nextHop: HasNextHop["nextHop"],
  { dialer, mesh, signal }: { dialer: Dialer; mesh: Mesh; signal: AbortSignal },
): Promise<Hop> {
  const serial = serialize({ log: silentLog });
  const hub = createMonitorHub();
  const began = chain<ConnectionApi>(name, ["request", "close"])
    .use(enterPath(name))
    .use(serial)
    .use(exchangeTokens({ clock: systemClock, maxTokenLifetimeMs: 600_000 }))
    .use(expire(systemClock, signal))
    .use(announce(hub))
    .use(undo({ log: silentLog }))
    .use(noteDeadline(mesh));
  const handler =
    nextHop === undefined
      ? began.end({ request: (request, context) => mesh.answer(request, context), close: async () => {} })
      : began
          .use(goTo(nextHop))
          .use(watchNeighbours({ name, dialer, hub, log: silentLog, signal, lingerMs: 100 }))
          .end(forward({ dialer, log: silentLog }));
  const forging: Handler<ConnectionApi> =
    nextHop === undefined
      ? { request: async (request, context) => mesh.forge(await handler.request(request, context)), close: handler.close }
      : handler;
  const services = [connectionService(forging), monitorService(hub)];
  return { url, serial, hub, listener: await listen({ urls: [url], services, log: silentLog, signal }) };
}

function goTo(nextHop: HasNextHop["nextHop"]): Element<ConnectionApi, object, HasNextHop> {
  return {
    name: "go-to",
    steps: {
      request: (request, _context, rest) => rest.request(request, { nextHop }),
      close: (connection, _context, rest) => rest.close(connection, { nextHop }),
    },
  };
}

function noteDeadline({ deadlines }: Mesh): Element<ConnectionApi> {
  return {
    name: "note-deadline",
    steps: {
      request(request, { deadlineMs }: CallContext, rest) {
        deadlines.push(deadlineMs);
        return rest.request(request);
      },
    },
  };
}
