import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain } from "../chain.js";
import { serialize } from "../elements/serialize.js";
import { undo } from "../elements/undo.js";
import { Connection } from "../gen/connection.js";
import { silentLog } from "../telemetry/log.js";
import { remember } from "./remember.js";

test("what was answered stays on the disk until it is closed", async (t) => {
  const { folder, handler, call } = start(t);
  const connection = await handler.request(asked(), call);
  assert.deepEqual(
    remember(folder, silentLog).restored.map(({ id }) => id),
    ["c-1"],
  );
  await handler.close(connection, call);
  assert.deepEqual(readdirSync(folder), []);
});

test("a first request that its caller withdraws leaves nothing on the disk; a refresh that is withdrawn leaves what was", async (t) => {
  const { folder, handler, call, caller } = start(t);
  const withdrawn = handler.request(asked(), call);
  caller.abort(new DOMException("gone", "AbortError"));
  await assert.rejects(withdrawn);
  assert.deepEqual(readdirSync(folder), []);

  await handler.request(asked(), backgroundCall(new AbortController().signal));
  await handler.request(asked(), call).catch(() => {});
  assert.equal(readdirSync(folder).length, 1);
});

const path = {
  index: 1,
  path_segments: [
    { name: "client", id: "c-0" },
    { name: "endpoint", id: "c-1" },
  ],
};
const asked = () => ({ connection: Connection.fromPartial({ id: "c-1", path }), mechanism_preferences: [] });

function start(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "weft-remember-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const caller = new AbortController();
  const handler = chain<ConnectionApi>("test", ["request", "close"])
    .use(serialize({ log: silentLog }))
    .use(undo({ log: silentLog }))
    .use(remember(folder, silentLog).element)
    .end({
      request: async ({ connection = Connection.fromPartial({}) }) => connection,
      close: async () => {},
    });
  return { folder, handler, caller, call: backgroundCall(caller.signal) };
}
