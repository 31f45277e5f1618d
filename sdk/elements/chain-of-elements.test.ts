import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, type CallContext, chain, type Handler } from "../chain.js";
import { manualClock } from "../clock.js";
import { Connection, ConnectionEventType, State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { createMonitorHub } from "../monitor/hub.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { timestampOf } from "../timestamp.js";
import { announce } from "./announce.js";
import { enterPath } from "./enter-path.js";
import { exchangeTokens } from "./exchange-tokens.js";
import { expire } from "./expire.js";
import { type HasConnection, serialize } from "./serialize.js";
import { type HasUndo, undo } from "./undo.js";
import { validateRequest } from "./validate-request.js";

test("row 1.30: a connection is made, refreshed and closed (twice), in the caller's terms", async (t) => {
  const mesh = start(t);
  const first = await mesh.request(mesh.ask());
  assert.equal(first.id, "c1");
  assert.deepEqual(
    first.path?.path_segments.map(({ name }) => name),
    ["client", "hop"],
  );
  assert.equal(first.path?.index, 0);
  const second = await mesh.request(NetworkServiceRequest.fromPartial({ connection: first }));
  assert.deepEqual(ids(second), ids(first));
  await mesh.close(second);
  await mesh.close(second);
  assert.deepEqual(mesh.log, ["request first", "request refresh", "close", "undo b", "undo a"]);
  assert.equal([...mesh.serialize.connections()].length, 0);
});

test("row 11.4: a caller that never had an answer closes what it made by its own id, and to ask anew leaves nothing behind", async (t) => {
  const mesh = start(t);
  const unheard = await mesh.request(mesh.ask());
  await mesh.close(mesh.ask().connection ?? unheard);
  assert.equal([...mesh.serialize.connections()].length, 0);
  const lost = await mesh.request(mesh.ask());
  const heard = await mesh.request(mesh.ask());
  assert.notDeepEqual(ids(heard), ids(lost));
  await mesh.idle();
  assert.deepEqual(
    [...mesh.serialize.connections()].map(({ id }) => id),
    [heard.path?.path_segments[1]?.id],
  );
  const both = await Promise.all([mesh.request(mesh.ask()), mesh.request(mesh.ask())]);
  await mesh.idle();
  assert.equal([...mesh.serialize.connections()].length, 1, "of two at the same time one stays");
  assert.ok(both.some(({ path }) => path?.path_segments[1]?.id === [...mesh.serialize.connections()][0]?.id));
});

test("a connection of a former run that is learned of during a request for it stands when that fails, and not when it is closed", async (t) => {
  const former = start(t);
  const granted = await former.request(former.ask());
  const [stored] = [...former.serialize.connections()];
  assert.ok(stored);
  const mesh = start(t);
  let later = 0;
  const askWhile = async (meanwhile: () => void): Promise<void> => {
    mesh.hold();
    mesh.fail = statusError(Code.UNAVAILABLE, "the next hop is away");
    const asked = mesh.request(NetworkServiceRequest.fromPartial({ connection: granted }));
    await mesh.idle();
    assert.equal(
      mesh.serialize.restore(stored, () => void later++),
      false,
    );
    meanwhile();
    mesh.letGo();
    await assert.rejects(asked, { code: Code.UNAVAILABLE });
    await mesh.idle();
  };
  await askWhile(() => {});
  assert.deepEqual([later, [...mesh.serialize.connections()]], [1, [stored]]);
  await mesh.close(granted);
  assert.deepEqual([...mesh.serialize.connections()], []);
  await askWhile(() => {});
  mesh.fail = undefined;
  mesh.letGo();
  await mesh.request(NetworkServiceRequest.fromPartial({ connection: granted }));
  assert.deepEqual(
    [later, [...mesh.serialize.connections()].map(({ id }) => id)],
    [2, [stored.id]],
    "asked again, it is the same",
  );
});

test("a first request whose answer nobody took leaves nothing; one that was refreshed or asked anew meanwhile stays", async (t) => {
  const mesh = start(t);
  await mesh.request(mesh.ask());
  mesh.untaken[0]?.();
  await mesh.idle();
  assert.deepEqual([mesh.log, [...mesh.serialize.connections()]], [["request first", "close", "undo b", "undo a"], []]);
  const taken = await mesh.request(mesh.ask());
  await mesh.request(NetworkServiceRequest.fromPartial({ connection: taken }));
  for (const withdraw of mesh.untaken) withdraw();
  await mesh.idle();
  assert.deepEqual([mesh.untaken.length, [...mesh.serialize.connections()].length], [2, 1], "a refresh is not undone");
  // the withdrawal comes while the next Request is under way
  const connection = await mesh.request(mesh.ask({ id: "c2" }));
  mesh.hold();
  const next = mesh.request(NetworkServiceRequest.fromPartial({ connection }));
  await mesh.idle();
  mesh.untaken[2]?.();
  mesh.letGo();
  await next.then(mesh.idle);
  assert.equal([...mesh.serialize.connections()].length, 2);
});

test("a failed first request leaves no state and takes back what was built, in reverse order", async (t) => {
  const mesh = start(t);
  mesh.fail = statusError(Code.RESOURCE_EXHAUSTED, "no address");
  await assert.rejects(mesh.request(mesh.ask()), { code: Code.RESOURCE_EXHAUSTED });
  assert.deepEqual(mesh.log, ["request first", "undo b", "undo a"]);
  assert.equal([...mesh.serialize.connections()].length, 0);
  mesh.fail = undefined;
  await mesh.request(mesh.ask());
});

test("a failed refresh keeps state and things, and announces DOWN; close then uses the last stored connection", async (t) => {
  const mesh = start(t);
  const first = await mesh.request(mesh.ask());
  mesh.fail = statusError(Code.UNAVAILABLE, "next hop away");
  const events = mesh.watch();
  assert.equal((await events.next()).value?.type, ConnectionEventType.INITIAL_STATE_TRANSFER);
  await assert.rejects(mesh.request(NetworkServiceRequest.fromPartial({ connection: first })), { code: Code.UNAVAILABLE });
  const event = (await events.next()).value;
  assert.deepEqual(
    Object.values<Connection>(event?.connections ?? {}).map(({ state }) => state),
    [State.DOWN],
  );
  assert.equal([...mesh.serialize.connections()][0]?.payload, "stored");
  await mesh.close({ ...first, payload: "sent by the caller" });
  assert.deepEqual(mesh.log, ["request first", "request refresh", "close", "undo b", "undo a"]);
  assert.equal(mesh.closed[0]?.payload, "stored");
  assert.equal((await events.next()).value?.type, ConnectionEventType.DELETE);
});

test("row 1.29: a connection nobody refreshes is closed; a refresh moves the expiry", async (t) => {
  const mesh = start(t);
  const first = await mesh.request(mesh.ask({ expiresMs: 60_000 }));
  mesh.clock.advance(50_000);
  await mesh.request(NetworkServiceRequest.fromPartial({ connection: withExpiry(first, 120_000) }));
  mesh.clock.advance(50_000);
  assert.equal([...mesh.serialize.connections()].length, 1);
  mesh.clock.advance(21_000);
  await mesh.idle();
  assert.deepEqual(mesh.log.slice(2), ["close", "undo b", "undo a"]);
  assert.equal([...mesh.serialize.connections()].length, 0);
});

for (const { why, connection } of [
  { why: "no path at all", connection: Connection.fromPartial({ id: "c1", network_service: "s" }) },
  { why: "no expiry", connection: withExpiry(client(), undefined) },
  { why: "an expiry in the past", connection: withExpiry(client(), -1000) },
]) {
  test(`${why} is refused with INVALID_ARGUMENT before anything is built`, async (t) => {
    const mesh = start(t);
    await assert.rejects(mesh.request(NetworkServiceRequest.fromPartial({ connection })), { code: Code.INVALID_ARGUMENT });
    assert.deepEqual(mesh.log, []);
  });
}

test("requests for one connection run one after the other, for two side by side", async (t) => {
  const mesh = start(t);
  mesh.hold();
  const a = mesh.request({ ...mesh.ask(), connection: { ...client(), path: own("fixed") } });
  const b = mesh.request({ ...mesh.ask(), connection: { ...client(), path: own("fixed") } });
  const other = mesh.request(mesh.ask({ id: "c2" }));
  await mesh.idle();
  assert.deepEqual(mesh.log, ["request first", "request first"]);
  mesh.letGo();
  await Promise.all([a, b, other]);
  assert.deepEqual(mesh.log, ["request first", "request first", "request refresh"]);
});

test("a caller that leaves while it waits never runs; one that left during a first request gets it undone", async (t) => {
  const mesh = start(t);
  mesh.hold();
  const busy = mesh.request({ ...mesh.ask(), connection: { ...client(), path: own("fixed") } });
  const leaver = new AbortController();
  const waiting = mesh.request({ ...mesh.ask(), connection: { ...client(), path: own("fixed") } }, leaver.signal);
  await mesh.idle();
  leaver.abort();
  await assert.rejects(waiting, { name: "AbortError" });
  const late = new AbortController();
  const second = mesh.request(mesh.ask({ id: "c2" }), late.signal);
  await mesh.idle();
  late.abort();
  mesh.letGo();
  await busy;
  await assert.rejects(second, { name: "AbortError" });
  assert.deepEqual(mesh.log, ["request first", "request first", "undo b", "undo a"]);
});

test("RESELECT_REQUESTED closes what is there before it asks anew", async (t) => {
  const mesh = start(t);
  const first = await mesh.request(mesh.ask());
  const again = await mesh.request(
    NetworkServiceRequest.fromPartial({ connection: { ...first, state: State.RESELECT_REQUESTED } }),
  );
  assert.deepEqual(mesh.log, ["request first", "close", "undo b", "undo a", "request first"]);
  assert.equal(again.state, State.UP);
});

test("Close of an unknown connection is OK and does nothing, unless its path goes on", async (t) => {
  const mesh = start(t);
  await mesh.close(client());
  assert.deepEqual(mesh.log, []);
  const path = own("h9");
  await mesh.close({ ...client(), path: { index: 0, path_segments: [...path.path_segments, segment("next", "n1")] } });
  assert.deepEqual(mesh.log, ["close"]);
});

function segment(name: string, id: string, expiresMs?: number) {
  const expires = expiresMs === undefined ? {} : { expires: timestampOf(expiresMs) };
  return { name, id, token: "", metrics: {}, ...expires };
}

function client(id = "c1", expiresMs: number | undefined = 3_600_000): Connection {
  const path = { index: 0, path_segments: [segment("client", id, expiresMs)] };
  return Connection.fromPartial({ id, network_service: "s", path });
}

/** A path that names the hop's own segment already. */
function own(hopId: string) {
  return { index: 0, path_segments: [segment("client", "c1", 3_600_000), segment("hop", hopId)] };
}

function withExpiry(connection: Connection, expiresMs: number | undefined): Connection {
  const [first, ...others] = connection.path?.path_segments ?? [];
  const { expires: _old, ...bare } = first ?? segment("client", "c1");
  const changed = expiresMs === undefined ? bare : { ...bare, expires: timestampOf(expiresMs) };
  return { ...connection, path: { index: 0, path_segments: [changed, ...others] } };
}

function ids(connection: Connection): string[] {
  return connection.path?.path_segments.map(({ id }) => id) ?? [];
}

/** A hop with all elements that every component has, over an end that keeps a log. */
function start(t: TestContext) {
  const clock = manualClock();
  const hub = createMonitorHub();
  const serial = serialize({ log: silentLog });
  const stop = new AbortController();
  t.after(() => stop.abort());
  let gate: Promise<void> | undefined;
  let open = (): void => {};
  const mesh = {
    log: [] as string[],
    closed: [] as Connection[],
    fail: undefined as Error | undefined,
    clock,
    serialize: serial,
    hold() {
      gate = new Promise((resolve) => {
        open = resolve;
      });
    },
    letGo: () => open(),
    ask: ({ id = "c1", expiresMs = 3_600_000 } = {}) => NetworkServiceRequest.fromPartial({ connection: client(id, expiresMs) }),
    /** Each withdraws one answered Request, in the order of the Requests. */
    untaken: [] as (() => void)[],
    request: (request: NetworkServiceRequest, signal = stop.signal) =>
      handler.request(request, { ...backgroundCall(signal), whenUntaken: (undo) => void mesh.untaken.push(undo) }),
    close: (connection: Connection) => handler.close(connection, backgroundCall(stop.signal)),
    watch: () => hub.subscribe({ path_segments: [], network_services: [] }, stop.signal)[Symbol.asyncIterator](),
    /** Lets everything run that can run without time passing. */
    idle: () => new Promise((resolve) => setImmediate(resolve)),
  };
  const end: Handler<ConnectionApi, HasConnection & HasUndo> = {
    async request({ connection }, context: CallContext & HasConnection & HasUndo) {
      mesh.log.push(context.previous === undefined ? "request first" : "request refresh");
      context.undo("a", () => void mesh.log.push("undo a"));
      context.undo("b", async () => void mesh.log.push("undo b"));
      await gate;
      if (mesh.fail) throw mesh.fail;
      return { ...Connection.fromPartial({}), ...connection, payload: "stored" };
    },
    async close(connection) {
      mesh.log.push("close");
      mesh.closed.push(connection);
    },
  };
  const handler = chain<ConnectionApi>("hop", ["request", "close"])
    .use(validateRequest())
    .use(enterPath("hop"))
    .use(serial)
    .use(exchangeTokens({ clock, maxTokenLifetimeMs: 600_000 }))
    .use(expire(clock))
    .use(announce(hub))
    .use(undo({ log: silentLog }))
    .end(end);
  return mesh;
}
