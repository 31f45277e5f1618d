import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { silentLog } from "../telemetry/log.js";
import { enterPath } from "./enter-path.js";
import { serialize } from "./serialize.js";

test("row 11.4: a close of what is gone, heard late, does not hit what its caller has asked for since", async () => {
  const kept = serialize({ log: silentLog });
  const hop = chain<ConnectionApi>("hop", ["request", "close"])
    .use(enterPath("hop"))
    .use(kept)
    .end({ request: async ({ connection }) => connection ?? Connection.fromPartial({}), close: async () => {} });
  const call = backgroundCall(new AbortController().signal);
  const ask = NetworkServiceRequest.fromPartial({
    connection: { id: "c1", path: { index: 0, path_segments: [{ name: "caller", id: "c1" }] } },
  });
  const ids = (): string[] => [...kept.connections()].map(({ id }) => id);
  const old = await hop.request(ask, call);
  const [oldId] = ids();
  await hop.close(old, call);
  await hop.request(ask, call);
  const [newId] = ids();
  assert.ok(newId !== undefined && newId !== oldId);
  await hop.close(old, call);
  assert.deepEqual(ids(), [newId], "the caller has named the old one");
  await hop.close(Connection.fromPartial(ask.connection ?? {}), call);
  assert.deepEqual(ids(), [], "who never had an answer can name none");
});
