import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, chain } from "../sdk/chain.js";
import { Connection, State } from "../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../sdk/gen/networkservice.js";
import { Code } from "../sdk/status.js";
import { paceBuilding } from "./pace-building.js";

test("what heals goes before what is new, new ones leave room for it, and refreshes and other nodes' requests do not wait", async () => {
  const begun: string[] = [];
  const finish = new Map<string, () => void>();
  const handler = chain<ConnectionApi>("nsmgr", ["request", "close"])
    .use(paceBuilding({ knows: (id) => id.startsWith("known"), maxUnderWay: 2, maxNew: 1 }))
    .end({
      request: async ({ connection = Connection.fromPartial({}) }) => {
        begun.push(connection.id);
        await new Promise<void>((resolve) => finish.set(connection.id, resolve));
        return connection;
      },
      close: async () => {},
    });
  const ask = (id: string, state: State = State.UP, index = 1, signal = new AbortController().signal) =>
    handler.request(
      NetworkServiceRequest.fromPartial({ connection: { id, state, path: { index, path_segments: [] } } }),
      backgroundCall(signal),
    );
  const leaving = new AbortController();
  const answers = [ask("new-1"), ask("new-2")];
  await settled();
  answers.push(ask("lost-1", State.RESELECT_REQUESTED), ask("lost-2", State.RESELECT_REQUESTED));
  const gone = assert.rejects(ask("new-3", State.UP, 1, leaving.signal), /has left/);
  answers.push(ask("known-1"), ask("far", State.UP, 3));
  await settled();
  assert.deepEqual(
    begun.splice(0).toSorted(),
    ["far", "known-1", "lost-1", "new-1"],
    "one new one, one that heals, and those that never wait",
  );
  leaving.abort(new Error("it has left"));
  await gone;
  finish.get("new-1")?.();
  await settled();
  assert.deepEqual(begun.splice(0), ["lost-2"], "the place of a new one goes to one that heals");
  finish.get("lost-1")?.();
  await settled();
  assert.deepEqual(begun.splice(0), ["new-2"]);
  for (const end of finish.values()) end();
  await Promise.all(answers);
});

test("who has waited until too little of his time is left is not built for in vain: the next one is", async () => {
  const begun: string[] = [];
  const finish: (() => void)[] = [];
  let nowMs = 0;
  const handler = chain<ConnectionApi>("nsmgr", ["request", "close"])
    .use(paceBuilding({ knows: () => false, maxUnderWay: 1, nowMs: () => nowMs }))
    .end({
      request: async ({ connection = Connection.fromPartial({}) }) => {
        begun.push(connection.id);
        await new Promise<void>((resolve) => finish.push(resolve));
        return connection;
      },
      close: async () => {},
    });
  const ask = (id: string, deadlineMs: number) =>
    handler.request(
      NetworkServiceRequest.fromPartial({
        connection: { id, state: State.RESELECT_REQUESTED, path: { index: 1, path_segments: [] } },
      }),
      { ...backgroundCall(new AbortController().signal), deadlineMs },
    );
  const first = ask("first", 10_000);
  await settled();
  const late = assert.rejects(ask("late", 1_000), { code: Code.RESOURCE_EXHAUSTED, message: /ask again/ });
  const next = ask("next", 10_000);
  await settled();
  nowMs = 900;
  finish.shift()?.();
  await late;
  await settled();
  assert.deepEqual(begun, ["first", "next"]);
  finish.shift()?.();
  await Promise.all([first, next]);
  const hasty = ask("hasty", nowMs + 1);
  await settled();
  assert.deepEqual(begun, ["first", "next", "hasty"], "who did not wait knows best how much time he has");
  finish.shift()?.();
  await hasty;
});

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
