import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain, type Element } from "../chain.js";
import { announce } from "../elements/announce.js";
import type { HasNextHop } from "../elements/forward.js";
import { type HasConnection, serialize } from "../elements/serialize.js";
import { undo } from "../elements/undo.js";
import { Connection, type ConnectionEvent, ConnectionEventType, State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { withSegment } from "../path.js";
import { Code, statusError, toStatusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { until } from "../testing/until.js";
import { timestampOf } from "../timestamp.js";
import { createMonitorHub } from "./hub.js";
import { watchNeighbours } from "./neighbours.js";

const { INITIAL_STATE_TRANSFER, UPDATE, DELETE } = ConnectionEventType;

test("one stream per neighbour for all connections that go on to it, kept for a while and then closed", async (t) => {
  const hop = start(t);
  await hop.request("a", "x");
  await hop.request("b", "x");
  await hop.request("c", "y");
  assert.deepEqual(hop.streams(), ["x", "y"]);
  assert.deepEqual(
    hop.selectors[0]?.path_segments.map(({ name, id }) => [name, id]),
    [["hop", ""]],
  );
  await hop.close("c");
  await until("the stream to y is closed", () => hop.streams().length === 1 || undefined, 5000);
  assert.deepEqual(hop.streams(), ["x"]);
});

for (const state of [State.DOWN, State.REFRESH_REQUESTED, State.RESELECT_REQUESTED]) {
  test(`state ${state} of the neighbour's connection becomes ours`, async (t) => {
    const hop = start(t);
    const ours = await hop.request("a", "x");
    hop.tell("x", UPDATE, theirs(ours, { state }));
    await hop.until("a", (connection) => connection.state === state);
  });
}

test("a changed context and a longer path are passed on and stored, the MTU stays ours", async (t) => {
  const hop = start(t);
  const ours = await hop.request("a", "x");
  const ip_context = { src_ip_addrs: ["10.0.0.9/32"] };
  const changed = Connection.fromPartial({ ...theirs(ours), context: { ip_context, MTU: 9000 } });
  hop.tell("x", UPDATE, changed);
  await hop.until("a", ({ context }) => context?.ip_context?.src_ip_addrs[0] === "10.0.0.9/32" && context.MTU === 1450);
  const [stored] = hop.serial.connections();
  assert.deepEqual(stored?.context?.ip_context?.src_ip_addrs, ["10.0.0.9/32"]);
  assert.equal(stored?.path?.index, 1);
});

test("an event that says nothing new is not passed on", async (t) => {
  const hop = start(t);
  const ours = await hop.request("a", "x");
  const before = hop.hub.get("a");
  hop.tell("x", UPDATE, theirs(ours));
  hop.tell("x", INITIAL_STATE_TRANSFER, theirs(ours));
  hop.tell("x", UPDATE, Connection.fromPartial({ id: "stranger", path: { index: 5, path_segments: [] } }));
  await hop.request("b", "x");
  assert.equal(hop.hub.get("a"), before);
});

test("a connection deleted there is DOWN here; after our own close nothing is told", async (t) => {
  const hop = start(t);
  const ours = await hop.request("a", "x");
  hop.tell("x", DELETE, theirs(ours));
  await hop.until("a", ({ state }) => state === State.DOWN);
  await hop.close("a");
  hop.tell("x", DELETE, theirs(ours));
  assert.equal(hop.hub.get("a"), undefined);
});

test("a stream that ends makes its connections DOWN, and UP again when the neighbour still has them", async (t) => {
  const hop = start(t);
  const ours = await hop.request("a", "x");
  await hop.request("b", "y");
  hop.fail("x", statusError(Code.UNAVAILABLE, "restarted"));
  await hop.until("a", ({ state }) => state === State.DOWN);
  assert.equal(hop.hub.get("b")?.state, State.UP);
  await until("the stream is opened again", () => hop.streams().includes("x") || undefined, 5000);
  hop.tell("x", INITIAL_STATE_TRANSFER, theirs(ours));
  await hop.until("a", ({ state }) => state === State.UP);
});

test("a connection that moves is watched where it has gone, and no longer where it was", async (t) => {
  const hop = start(t);
  const ours = await hop.request("a", "x");
  await hop.request("a", "y");
  hop.tell("x", DELETE, theirs(ours));
  hop.tell("y", UPDATE, theirs(ours, { state: State.REFRESH_REQUESTED }));
  await hop.until("a", ({ state }) => state === State.REFRESH_REQUESTED);
});

test("what could not be built after the neighbour's answer is not watched, and the stream is not kept for it", async (t) => {
  const hop = start(t);
  await hop.request("a", "x");
  await assert.rejects(hop.request("refused", "y"), { code: Code.RESOURCE_EXHAUSTED });
  await until("the stream to y is closed", () => !hop.streams().includes("y") || undefined, 5000);
  assert.deepEqual(hop.streams(), ["x"]);
});

for (const succeeds of [false, true]) {
  test(`what the neighbour tells while it is asked ${succeeds ? "gives way to its answer" : "counts when the request fails"}`, async (t) => {
    const hop = start(t);
    const ours = await hop.request("a", "x");
    await hop.request("b", "x");
    let settle = (_error?: Error): void => {};
    hop.answersAfter = new Promise((resolve, reject) => {
      settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    const asking = hop.request("a", "x");
    hop.tell("x", DELETE, theirs(ours));
    hop.tell("x", DELETE, theirs({ ...ours, id: "b", path: hop.hub.get("b")?.path }));
    await hop.until("b", ({ state }) => state === State.DOWN);
    assert.equal(hop.hub.get("a")?.state, State.UP);
    settle(succeeds ? undefined : statusError(Code.UNAVAILABLE, "the next hop has gone"));
    await asking.catch((error: unknown) => assert.equal(toStatusError(error).code, Code.UNAVAILABLE));
    assert.equal(hop.hub.get("a")?.state, succeeds ? State.UP : State.DOWN);
  });
}

test("row 7.3: what the neighbour said before it was asked last changes nothing, however late it is heard", async (t) => {
  const hop = start(t);
  const before = asOf(await hop.request("a", "x", 1_000), 1_000);
  const ours = await hop.request("a", "x", 2_000);
  const bygone = { ip_context: { src_ip_addrs: ["10.0.0.1/32"] } };
  hop.tell("x", UPDATE, Connection.fromPartial({ ...theirs(before), context: bygone }));
  hop.tell("x", DELETE, theirs(before));
  hop.tell("x", UPDATE, theirs(asOf(ours, 2_000), { state: State.REFRESH_REQUESTED }));
  await hop.until("a", ({ state }) => state === State.REFRESH_REQUESTED);
  assert.deepEqual([...hop.serial.connections()][0]?.context, ours.context);
});

/** With this end of life in our segment. */
function asOf(connection: Connection, expiresMs: number): Connection {
  return withSegment(connection, 1, (segment) => ({ ...segment, expires: timestampOf(expiresMs) }));
}

/** The connection as the neighbour tells of it: in its own terms. */
function theirs(ours: Connection, change: Partial<Connection> = {}): Connection {
  return { ...ours, id: `next-${ours.id}`, path: { index: 2, path_segments: ours.path?.path_segments ?? [] }, ...change };
}

interface Stream {
  readonly url: string;
  push(item: ConnectionEvent | Error): void;
}

function start(t: TestContext) {
  const stop = new AbortController();
  t.after(() => stop.abort());
  const open = new Set<Stream>();
  const hop = {
    hub: createMonitorHub(),
    serial: serialize({ log: silentLog }),
    selectors: [] as { path_segments: { name: string; id: string }[] }[],
    answersAfter: Promise.resolve(),
    streams: () => [...open].map(({ url }) => url).sort(),
    tell(url: string, type: ConnectionEventType, connection: Connection) {
      for (const stream of open) if (stream.url === url) stream.push({ type, connections: { [connection.id]: connection } });
    },
    fail(url: string, error: Error) {
      for (const stream of open) if (stream.url === url) stream.push(error);
    },
    async request(id: string, url: string, expiresMs?: number): Promise<Connection> {
      const path_segments = ["client", "hop", "next"].map((name) => ({
        name,
        id: name === "hop" ? id : `${name}-${id}`,
        token: "",
        metrics: {},
        ...(name === "hop" && expiresMs !== undefined ? { expires: timestampOf(expiresMs) } : {}),
      }));
      const connection = Connection.fromPartial({
        id,
        network_service: url,
        path: { index: 1, path_segments },
        context: { MTU: 1450 },
      });
      const answer = await handler.request(NetworkServiceRequest.fromPartial({ connection }), backgroundCall(stop.signal));
      await until("the neighbour is listened to", () => hop.streams().includes(url) || undefined, 5000);
      return answer;
    },
    close: (id: string) => handler.close(hop.hub.get(id) ?? Connection.fromPartial({ id }), backgroundCall(stop.signal)),
    until: (id: string, is: (connection: Connection) => boolean) =>
      until(`connection ${id} is as told`, () => is(hop.hub.get(id) ?? Connection.fromPartial({})) || undefined, 5000),
  };
  const monitor = async function* (
    url: string,
    selector: { path_segments: { name: string; id: string }[] },
    signal: AbortSignal,
  ) {
    hop.selectors.push(selector);
    const waiting: (ConnectionEvent | Error)[] = [];
    let wake = (): void => {};
    const stream: Stream = {
      url,
      push(item) {
        waiting.push(item);
        wake();
      },
    };
    signal.addEventListener("abort", () => wake());
    open.add(stream);
    try {
      while (!signal.aborted) {
        const item = waiting.shift();
        if (item instanceof Error) throw item;
        if (item !== undefined) yield item;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      open.delete(stream);
    }
  };
  const handler = chain<ConnectionApi>("hop", ["request", "close"])
    .use(hop.serial)
    .use(announce(hop.hub))
    .use(undo({ log: silentLog }))
    .use(goByService)
    .use(refuseAnswers)
    .use(watchNeighbours({ name: "hop", dialer: { monitor }, hub: hop.hub, log: silentLog, signal: stop.signal, lingerMs: 20 }))
    .end({
      async request({ connection }) {
        await hop.answersAfter;
        return connection ?? Connection.fromPartial({});
      },
      close: async () => {},
    });
  return hop;
}

/** The name of the service is the url of the next hop. */
const goByService: Element<ConnectionApi, HasConnection, HasNextHop> = {
  name: "go-by-service",
  steps: {
    request: (request, _context, rest) =>
      rest.request(request, { nextHop: { url: request.connection?.network_service ?? "", name: "next" } }),
    close: (connection, _context, rest) => rest.close(connection, { nextHop: { url: connection.network_service, name: "next" } }),
  },
};

/** As a hop that cannot build what was agreed. */
const refuseAnswers: Element<ConnectionApi> = {
  name: "refuse-answers",
  steps: {
    async request(request, _context, rest) {
      const answer = await rest.request(request);
      if (answer.id === "refused") throw statusError(Code.RESOURCE_EXHAUSTED, "no memory for it");
      return answer;
    },
  },
};
