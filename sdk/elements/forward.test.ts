import assert from "node:assert/strict";
import { test } from "node:test";
import { backgroundCall } from "../chain.js";
import { Connection, State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { forward, type NextHop } from "./forward.js";
import type { Undo } from "./undo.js";

const known = { url: "unix:///next", name: "next" };

test("the next hop gets a path segment whose id we chose, unless its name is not known", async () => {
  const hop = start();
  await hop.request(["own"], known);
  await hop.request(["own"], { ...known, name: "" });
  await hop.request(["own", "next"], known);
  await hop.request(["own", "old", "older"], known);
  assert.deepEqual(hop.paths, ["own next", "own", "own next", "own next older"]);
});

test("row 1.30: who asks again without a way onward gets the one that is there, with the same id", async () => {
  const hop = start();
  const first = await hop.request(["own"], known);
  const idOf = ({ path }: Connection): string | undefined => path?.path_segments[1]?.id;
  const again = await hop.request(["own"], known, { previous: first });
  assert.equal(idOf(again), idOf(first));
  const elsewhere = await hop.request(["own"], { url: "unix:///other", name: "other" }, { previous: first });
  assert.notEqual(idOf(elsewhere), idOf(first));
});

for (const { why, names, nextHop, state, closes } of [
  { why: "new", names: ["own"], nextHop: known, closes: true },
  { why: "new, to a hop whose name is not known", names: ["own"], nextHop: { ...known, name: "" }, closes: true },
  { why: "a refresh after our restart", names: ["own", "next"], nextHop: known, closes: false },
  { why: "a reselect", names: ["own", "next"], nextHop: known, state: State.RESELECT_REQUESTED, closes: true },
]) {
  test(`${why}: a request that fails later on ${closes ? "is" : "is not"} taken back at the next hop`, async () => {
    const hop = start();
    await hop.request(names, nextHop, { state: state ?? State.UP });
    for (const how of hop.undos) await how(new AbortController().signal);
    assert.deepEqual(hop.closed, closes ? ["unix:///next"] : []);
  });
  test(`${why}: a request whose outcome is unknown ${closes ? "is" : "is not"} closed at the next hop`, async () => {
    const hop = start();
    hop.failure = statusError(Code.DEADLINE_EXCEEDED, "no answer");
    await assert.rejects(hop.request(names, nextHop, { state: state ?? State.UP }), { code: Code.DEADLINE_EXCEEDED });
    assert.deepEqual(hop.closed, closes ? ["unix:///next"] : []);
  });
}

test("a definite refusal is not followed by a close", async () => {
  const hop = start();
  hop.failure = statusError(Code.RESOURCE_EXHAUSTED, "no address");
  await assert.rejects(hop.request(["own"], known), { code: Code.RESOURCE_EXHAUSTED });
  assert.deepEqual(hop.closed, []);
});

test("a connection that moves is closed where it was, and close goes where it is", async () => {
  const hop = start();
  const before = await hop.request(["own"], known);
  const after = await hop.request(["own", "next"], { url: "unix:///other", name: "other" }, { previous: before });
  assert.deepEqual(hop.closed, ["unix:///next"]);
  await hop.close(after, undefined);
  assert.deepEqual(hop.closed, ["unix:///next", "unix:///other"]);
});

test("close of a connection with no known next hop does nothing", async () => {
  const hop = start();
  await hop.close(Connection.fromPartial({ id: "own-id" }), undefined);
  await hop.close(Connection.fromPartial({ id: "own-id" }), known);
  assert.deepEqual(hop.closed, ["unix:///next"]);
});

function start() {
  const hop = {
    paths: [] as string[],
    closed: [] as string[],
    undos: [] as Undo[],
    failure: undefined as Error | undefined,
    request(names: string[], nextHop: NextHop, change: { state?: State; previous?: Connection } = {}) {
      const path_segments = names.map((name) => ({ name, id: `${name}-id`, token: "", metrics: {} }));
      const connection = Connection.fromPartial({
        id: "own-id",
        path: { index: 0, path_segments },
        state: change.state ?? State.UP,
      });
      return handler.request(NetworkServiceRequest.fromPartial({ connection }), {
        ...context(nextHop),
        previous: change.previous,
      });
    },
    close: (connection: Connection, nextHop: NextHop | undefined) => handler.close(connection, context(nextHop)),
  };
  const context = (nextHop: NextHop | undefined) => ({
    ...backgroundCall(new AbortController().signal),
    nextHop,
    previous: undefined as Connection | undefined,
    events: { close() {}, changed() {} },
    undo() {},
    undoOnFailure: (_key: string, how: Undo) => void hop.undos.push(how),
  });
  const connections = (url: string) => ({
    async request({ connection }: NetworkServiceRequest) {
      hop.paths.push(connection?.path?.path_segments.map(({ name }) => name).join(" ") ?? "");
      if (hop.failure !== undefined) throw hop.failure;
      return connection ?? Connection.fromPartial({});
    },
    close: async () => void hop.closed.push(url),
  });
  const handler = forward({ dialer: { connections }, log: silentLog });
  return hop;
}
