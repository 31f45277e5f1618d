// Hops joined by real sockets: forward, undo, monitor of neighbours.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { type CallContext, chain, type Element, type Handler } from "../chain.js";
import { systemClock } from "../clock.js";
import { Connection, type ConnectionEvent, State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { createMonitorHub, type MonitorHub } from "../monitor/hub.js";
import { watchNeighbours } from "../monitor/neighbours.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { until } from "../testing/until.js";
import { timestampOf } from "../timestamp.js";
import { createDialer, type Dialer } from "../transport/dial.js";
import { type Listener, listen } from "../transport/listen.js";
import { connectionService, monitorService } from "../transport/services.js";
import { announce } from "./announce.js";
import { enterPath } from "./enter-path.js";
import { exchangeTokens } from "./exchange-tokens.js";
import { expire } from "./expire.js";
import { forward, type HasNextHop } from "./forward.js";
import { type Serialize, serialize } from "./serialize.js";
import { undo } from "./undo.js";

test("row 1.30: a request passes three hops and comes back in the caller's terms; close reaches the end", async (t) => {
  const mesh = await start(t);
  const answer = await mesh.request();
  assert.deepEqual(
    answer.path?.path_segments.map(({ name }) => name),
    ["client", "one", "two", "end"],
  );
  assert.equal(answer.path?.index, 0);
  assert.deepEqual(mesh.live(), [1, 1, 1]);
  const again = await mesh.request(answer);
  assert.deepEqual(
    again.path?.path_segments.map(({ id }) => id),
    answer.path?.path_segments.map(({ id }) => id),
  );
  await mesh.close(answer);
  assert.deepEqual(mesh.live(), [0, 0, 0]);
});

test("a failure at the end leaves nothing at any hop and reaches the caller with code and text", async (t) => {
  const mesh = await start(t);
  mesh.answer = async () => {
    throw statusError(Code.RESOURCE_EXHAUSTED, "no address left in 10.0.0.0/30");
  };
  await assert.rejects(mesh.request(), { code: Code.RESOURCE_EXHAUSTED, details: "no address left in 10.0.0.0/30" });
  assert.deepEqual(mesh.live(), [0, 0, 0]);
});

test("a caller that gives up while the end works leaves nothing at any hop", async (t) => {
  const mesh = await start(t);
  const working = new AbortController();
  const caller = new AbortController();
  mesh.answer = async (_request, { signal }) => {
    caller.abort();
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    working.abort();
    throw signal.reason;
  };
  await assert.rejects(mesh.request(undefined, { signal: caller.signal }), { code: Code.CANCELLED });
  await until("the end was cut", () => working.signal.aborted || undefined, 5000);
  await until("all hops are empty", () => mesh.live().every((count) => count === 0) || undefined, 5000);
});

test("an end that answers too late for its caller is closed again", async (t) => {
  const mesh = await start(t);
  const caller = new AbortController();
  mesh.answer = async (request, { signal }) => {
    caller.abort();
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    return { ...Connection.fromPartial({}), ...request.connection };
  };
  await assert.rejects(mesh.request(undefined, { signal: caller.signal }), { code: Code.CANCELLED });
  await until("all hops are empty", () => mesh.live().every((count) => count === 0) || undefined, 5000);
});

test("the deadline travels: every hop sees about the same one", async (t) => {
  const mesh = await start(t);
  const deadlineMs = Date.now() + 30_000;
  await mesh.request(undefined, { deadlineMs });
  assert.equal(mesh.deadlines.length, 3);
  for (const seen of mesh.deadlines) assert.ok(Math.abs((seen ?? 0) - deadlineMs) < 2000, `${seen} against ${deadlineMs}`);
});

test("row 7.2: a refresh through a restarted hop that fails does not tear down what lives further on", async (t) => {
  const mesh = await start(t);
  const answer = await mesh.request();
  await mesh.restartFirst();
  mesh.answer = async (_request, { signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    throw signal.reason;
  };
  await assert.rejects(mesh.request(answer, { deadlineMs: Date.now() + 200 }), { code: Code.DEADLINE_EXCEEDED });
  assert.deepEqual(mesh.live(), [0, 1, 1]);
  mesh.answer = async ({ connection }) => ({ ...Connection.fromPartial({}), ...connection });
  const again = await mesh.request(answer);
  assert.deepEqual(
    again.path?.path_segments.map(({ id }) => id),
    answer.path?.path_segments.map(({ id }) => id),
  );
  assert.deepEqual(mesh.live(), [1, 1, 1]);
});

test("an answer for another connection is refused and closed", async (t) => {
  const mesh = await start(t);
  mesh.forge = (answer) => ({ ...answer, path: { index: 0, path_segments: [] } });
  await assert.rejects(mesh.request(), { code: Code.INTERNAL, message: /answered for connection/ });
  assert.deepEqual(mesh.live().slice(0, 2), [0, 0]);
});

test("row 1.31: the end of a neighbour makes connections DOWN at every hop, its return and a refresh UP", async (t) => {
  const mesh = await start(t);
  const answer = await mesh.request();
  const states = mesh.states();
  await states.seen(State.UP);
  await mesh.stopEnd();
  await states.seen(State.DOWN);
  await mesh.startEnd();
  await mesh.request(answer);
  await states.seen(State.UP);
});

test("a connection closed at the end from inside is told as DOWN to the client, once", async (t) => {
  const mesh = await start(t);
  await mesh.request();
  const states = mesh.states();
  await states.seen(State.UP);
  mesh.closeAtEnd();
  await states.seen(State.DOWN);
});

test("a target that does not answer at all fails within the dial timeout", async (t) => {
  const mesh = await start(t);
  await mesh.stopEnd();
  await assert.rejects(mesh.request(), { code: Code.UNAVAILABLE });
  assert.deepEqual(mesh.live(), [0, 0, 0]);
});

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

/** client → one → two → end */
async function start(t: TestContext) {
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

function fresh(): Connection {
  const id = randomUUID();
  const expires = timestampOf(Date.now() + 600_000);
  const path = { index: 0, path_segments: [{ name: "client", id, token: "", expires, metrics: {} }] };
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
