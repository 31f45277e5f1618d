import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain } from "../chain.js";
import { serialize } from "../elements/serialize.js";
import { undo } from "../elements/undo.js";
import { Connection, State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { silentLog } from "../telemetry/log.js";
import { type ServedConnection, tellOwner } from "./tell-owner.js";

test("a client that came by a reselect is served: the owner sees its connection up", async () => {
  const told: ServedConnection[] = [];
  const owner = tellOwner((served) => void told.push(served));
  const handler = chain<ConnectionApi>("endpoint", ["request", "close"])
    .use(serialize({ log: silentLog }))
    .use(undo({ log: silentLog }))
    .use(owner.element)
    .end({ request: async ({ connection }) => connection ?? Connection.fromPartial({}), close: async () => {} });
  const path = { index: 1, path_segments: ["client", "endpoint"].map((name) => ({ name, id: "c1" })) };
  const connection = Connection.fromPartial({ id: "c1", path, state: State.RESELECT_REQUESTED });
  await handler.request(NetworkServiceRequest.fromPartial({ connection }), backgroundCall(new AbortController().signal));
  assert.deepEqual(
    [...told, ...owner.connections()].map(({ connection: { id, state } }) => [id, state]),
    [
      ["c1", State.UP],
      ["c1", State.UP],
    ],
  );
});
