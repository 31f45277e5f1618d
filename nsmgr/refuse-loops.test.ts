import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, chain, type Element, type Handler } from "../sdk/chain.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import { Connection } from "../sdk/gen/connection.js";
import { Code } from "../sdk/status.js";
import { refuseLoops } from "./refuse-loops.js";

test("a request that comes back for the same endpoint is refused, one for the next function is not", async () => {
  const again: { path: [string, string][]; endpoint: string }[] = [];
  const ask = start(async (handler) => {
    const next = again.shift();
    if (next !== undefined) await handler(next.path, next.endpoint);
  });
  const here: [string, string][] = [
    ["client", "c0"],
    ["nsmgr", "m1"],
  ];
  again.push({ path: [...here, ["forwarder", "f1"], ["nsmgr", "m2"]], endpoint: "e" });
  await assert.rejects(ask(here, "e"), {
    code: Code.FAILED_PRECONDITION,
    details: /endpoint e makes a loop, its URL leads back .*client → nsmgr → forwarder → nsmgr/,
  });
  again.push({ path: [...here, ["forwarder", "f1"], ["firewall", "w1"], ["nsmgr", "m2"]], endpoint: "e" });
  await ask(here, "firewall");
});

test("an endpoint that is on the path already is refused", async () => {
  const ask = start(async () => {});
  const path: [string, string][] = [
    ["client", "c0"],
    ["e", "e1"],
    ["nsmgr", "m2"],
  ];
  await assert.rejects(ask(path, "e"), { code: Code.FAILED_PRECONDITION, details: /on the path already/ });
});

test("another manager of the same name is no loop", async () => {
  const ask = start(async () => {});
  await ask(
    [
      ["client", "c0"],
      ["nsmgr", "elsewhere"],
      ["forwarder", "f1"],
      ["nsmgr", "m2"],
    ],
    "e",
  );
});

type Ask = (path: [string, string][], endpoint: string) => Promise<Connection>;

function start(onward: (ask: Ask) => Promise<void>): Ask {
  const knows: Element<ConnectionApi, object, HasConnection> = {
    name: "knows",
    steps: {
      request: (request, _context, rest) => rest.request(request, { previous: undefined, events: { close() {}, changed() {} } }),
      close: (connection, _context, rest) =>
        rest.close(connection, { previous: undefined, events: { close() {}, changed() {} } }),
    },
  };
  const handler: Handler<ConnectionApi> = chain<ConnectionApi>("test", ["request", "close"])
    .use(knows)
    .use(refuseLoops("nsmgr"))
    .end({
      async request({ connection }) {
        await onward(ask);
        assert.ok(connection);
        return connection;
      },
      async close() {},
    });
  const ask: Ask = (path, endpoint) => {
    const path_segments = path.map(([name, id]) => ({ name, id }));
    const connection = Connection.fromPartial({
      id: path.at(-1)?.[1] ?? "",
      network_service_endpoint_name: endpoint,
      path: { index: path.length - 1, path_segments },
    });
    return handler.request({ connection, mechanism_preferences: [] }, backgroundCall(new AbortController().signal));
  };
  return ask;
}
