import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, chain, type Element } from "../sdk/chain.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import { Connection } from "../sdk/gen/connection.js";
import { Code } from "../sdk/status.js";
import { fenceClient } from "./fence-client.js";

test("the younger of two processes has the connection; the older one's Close changes nothing", async () => {
  const { as, passed } = start();
  await as(10, "a").request();
  await as(20, "b").request();
  await assert.rejects(as(10, "a").request(), { code: Code.ABORTED, details: /newer incarnation/ });
  await as(10, "a").close();
  assert.deepEqual(passed, ["request a", "request b"]);
  await as(20, "b").close();
  await as(10, "a").request();
  assert.deepEqual(passed.slice(2), ["close b", "request a"]);
});

test("a connection that moves goes by two ids, and an older process has neither", async () => {
  const { as, passed } = start();
  await as(10, "a").request();
  await as(20, "b").request();
  await assert.rejects(as(10, "a").request({ id: "c-1-b" }), { code: Code.ABORTED });
  await as(20, "b").request({ id: "c-1-b" });
  await as(20, "b").close();
  await assert.rejects(as(10, "a").request(), { code: Code.ABORTED });
  await as(20, "b").close({ id: "c-1-b" });
  await as(10, "a").request();
  assert.deepEqual(passed.slice(2), ["request b", "close b", "close b", "request a"]);
});

test("an older process may have what a younger one has died with, and a pid that is used again proves nothing", async () => {
  const { as, starts, passed } = start();
  await as(20, "b").request();
  starts.set(20, 9_999);
  await as(10, "a").request();
  starts.delete(20);
  await as(10, "a").request();
  assert.equal(passed.length, 3);
});

test("processes that cannot be seen, other managers, and other clients are not told apart", async () => {
  const { as, passed } = start();
  await as(20, "b").request();
  await as(0, "hidden").request();
  await as(10, "other").request({ client: "other" });
  await as(10, "forwarder").request({ index: 3 });
  assert.equal(passed.length, 4);
});

function start() {
  const starts = new Map([
    [10, 100],
    [20, 200],
  ]);
  const passed: string[] = [];
  const nothing: Element<ConnectionApi, object, Pick<HasConnection, "previous">> = {
    name: "nothing",
    steps: {
      request: (request, _context, rest) => rest.request(request, { previous: undefined }),
      close: (connection, _context, rest) => rest.close(connection, { previous: undefined }),
    },
  };
  const handler = chain<ConnectionApi>("test", ["request", "close"])
    .use(nothing)
    .use(fenceClient((pid) => starts.get(pid)))
    .end({
      async request({ connection = Connection.fromPartial({}) }) {
        passed.push(`request ${connection.labels["who"]}`);
        return connection;
      },
      close: async ({ labels }) => void passed.push(`close ${labels["who"]}`),
    });
  const as = (pid: number, who: string) => {
    const call = { ...backgroundCall(new AbortController().signal), peer: { kind: "unix", pid, uid: 0, gid: 0 } as const };
    const connectionOf = ({ client = "client", index = 1, id = "c-1" } = {}): Connection =>
      Connection.fromPartial({ id: who, labels: { who }, path: { index, path_segments: [{ name: client, id }] } });
    return {
      request: (where = {}) => handler.request({ connection: connectionOf(where), mechanism_preferences: [] }, call),
      close: (where = {}) => handler.close(connectionOf(where), call),
    };
  };
  return { as, starts, passed };
}
