import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Connection, type ConnectionEvent, ConnectionEventType, type MonitorScopeSelector } from "../gen/connection.js";
import { Code } from "../status.js";
import { createMonitorHub, type MonitorHub } from "./hub.js";
import { selects } from "./selector.js";

const all: MonitorScopeSelector = { path_segments: [], network_services: [] };
const { INITIAL_STATE_TRANSFER, UPDATE, DELETE } = ConnectionEventType;

test("row 1.31: the initial state comes at once even when it is empty, then updates and deletions", async () => {
  const hub = createMonitorHub();
  const events = watch(hub, all);
  assert.deepEqual(await events.next(), [INITIAL_STATE_TRANSFER]);
  hub.publish(connection("a"));
  assert.deepEqual(await events.next(), [UPDATE, "a"]);
  hub.remove(connection("a"));
  hub.remove(connection("a"));
  hub.publish(connection("b"));
  assert.deepEqual(await events.next(), [DELETE, "a"]);
  assert.deepEqual(await events.next(), [UPDATE, "b"]);
  await events.end();
});

test("only selected connections are told of", async () => {
  const hub = createMonitorHub();
  hub.publish(connection("a"));
  const byId = watch(hub, { ...all, path_segments: [segment("", "client-b")] });
  const byService = watch(hub, { ...all, network_services: ["other"] });
  assert.deepEqual(await byId.next(), [INITIAL_STATE_TRANSFER]);
  assert.deepEqual(await byService.next(), [INITIAL_STATE_TRANSFER]);
  hub.publish(connection("a"));
  hub.publish(connection("b"));
  hub.publish(connection("c", "other"));
  assert.deepEqual(await byId.next(), [UPDATE, "b"]);
  assert.deepEqual(await byService.next(), [UPDATE, "c"]);
  await byId.end();
  await byService.end();
});

test("a slow reader gets the newest of each connection and no more than that", async () => {
  const hub = createMonitorHub();
  const events = watch(hub, all);
  await events.next();
  for (let i = 0; i < 1000; i++) {
    hub.publish({ ...connection("a"), payload: `${i}` });
    hub.publish(connection("b"));
  }
  hub.remove(connection("b"));
  hub.publish(connection("b"));
  const last = await events.event();
  assert.equal(last.connections["a"]?.payload, "999");
  assert.deepEqual(await events.next(), [DELETE, "b"]);
  assert.deepEqual(await events.next(), [UPDATE, "b"]);
  await events.end();
});

test("a reader too far behind is told to start again", async () => {
  const hub = createMonitorHub({ maxPending: 10 });
  const events = watch(hub, all);
  await events.next();
  for (let i = 0; i < 20; i++) hub.publish(connection(`c${i}`));
  await assert.rejects(events.next(), { code: Code.RESOURCE_EXHAUSTED });
});

test("one event object goes to every subscriber, so that it is encoded once", async () => {
  const hub = createMonitorHub();
  const [one, two] = [watch(hub, all), watch(hub, all)];
  await Promise.all([one.next(), two.next()]);
  hub.publish(connection("a"));
  assert.equal(await one.event(), await two.event());
  await one.end();
  await two.end();
});

test("a large initial state is split, its first message is the initial one", async () => {
  const hub = createMonitorHub();
  for (let i = 0; i < 450; i++) hub.publish(connection(`c${i}`));
  const events = watch(hub, all);
  const sizes: number[] = [];
  for (let i = 0; i < 3; i++) sizes.push(Object.keys((await events.event()).connections).length);
  assert.deepEqual(sizes, [200, 200, 50]);
  await events.end();
});

test("segments of a selector match a contiguous run by their non-empty fields", () => {
  const subject = connection("x");
  const cases: [MonitorScopeSelector["path_segments"], boolean][] = [
    [[segment("client", "")], true],
    [[segment("client", ""), segment("nsmgr", "")], true],
    [[segment("client", ""), segment("forwarder", "")], false],
    [[segment("nsmgr", ""), segment("", "fwd-x")], true],
    [[{ ...segment("nsmgr", ""), token: "other" }], false],
    [Array(4).fill(segment("", "")), false],
  ];
  for (const [path_segments, expected] of cases) assert.equal(selects({ ...all, path_segments }, subject), expected);
  assert.equal(selects({ ...all, path_segments: [segment("client", "")] }, Connection.fromPartial({})), false);
});

test("the index of the hub finds exactly those whom the selector selects", async () => {
  const names = fc.constantFrom("", "client", "nsmgr", "forwarder");
  const segmentIds = fc.constantFrom("", "client-a", "client-b", "a", "fwd-a");
  const selectors = fc.array(fc.tuple(names, segmentIds), { maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(selectors, fc.constantFrom("a", "b"), async (parts, id) => {
      const selector = { ...all, path_segments: parts.map(([name, segmentId]) => segment(name, segmentId)) };
      const hub = createMonitorHub();
      const events = watch(hub, selector);
      await events.next();
      hub.publish(connection(id));
      hub.publish({ ...connection("end"), path: { index: 0, path_segments: selector.path_segments } });
      const wanted = selects(selector, connection(id)) ? id : "end";
      assert.deepEqual(await events.next(), [UPDATE, wanted]);
      await events.end();
    }),
    { numRuns: 100 },
  );
});

function segment(name: string, id: string) {
  return { name, id, token: "", metrics: {} };
}

function connection(id: string, network_service = "svc"): Connection {
  const path_segments = [segment("client", `client-${id}`), segment("nsmgr", id), segment("forwarder", `fwd-${id}`)];
  return Connection.fromPartial({ id, network_service, path: { index: 1, path_segments } });
}

function watch(hub: MonitorHub, selector: MonitorScopeSelector) {
  const stop = new AbortController();
  const events = hub.subscribe(selector, stop.signal)[Symbol.asyncIterator]();
  const event = async (): Promise<ConnectionEvent> => (await events.next()).value;
  return {
    event,
    async next() {
      const { type, connections } = await event();
      return [type, ...Object.keys(connections)];
    },
    async end() {
      stop.abort();
      assert.equal((await events.next()).done, true);
    },
  };
}
