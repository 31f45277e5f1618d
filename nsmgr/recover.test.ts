import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, ConnectionEvent, ConnectionEventType } from "../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { until } from "../sdk/testing/until.js";
import { createLocalEndpoints } from "./local-endpoints.js";
import { type RecoverDeps, recoverConnections } from "./recover.js";

const segments = [
  { name: "client", id: "c" },
  { name: "nsmgr-1", id: "own" },
  { name: "forwarder-1", id: "f" },
];
const shown = Connection.fromPartial({ id: "f", path: { index: 2, path_segments: segments } });

/** A manager that has restarted; `refusals` = how often a Request under way keeps its connection from being restored. */
function start(t: { after(undo: () => void): void }, refusals: number) {
  const stopping = new AbortController();
  t.after(() => stopping.abort());
  const locals = createLocalEndpoints();
  const state = { asked: 0, restored: [] as string[], announced: [] as string[], known: false };
  recoverConnections({
    name: "nsmgr-1",
    forwarderServiceName: "forwarder",
    locals,
    dialer: {
      async *monitor() {
        state.asked++;
        yield ConnectionEvent.fromPartial({
          type: ConnectionEventType.INITIAL_STATE_TRANSFER,
          connections: { f: shown },
        });
      },
    },
    hub: { get: (id: string) => (state.known ? Connection.fromPartial({ id }) : undefined) },
    announcements: { publish: ({ id }: Connection) => void state.announced.push(id) },
    serialize: {
      restore({ id }: Connection) {
        if (state.asked <= refusals) return false;
        state.restored.push(id);
        return true;
      },
    },
    expire: { arm: () => {} },
    handler: { request: async () => shown, close: async () => {} },
    log: silentLog,
    signal: stopping.signal,
  } as unknown as RecoverDeps);
  locals.set(NetworkServiceEndpoint.fromPartial({ name: "forwarder-1", url: "tcp://f:1", network_service_names: ["forwarder"] }));
  return state;
}

test("a Request that is under way and fails does not keep a connection of a former run from being known again", async (t) => {
  const state = start(t, 2);
  await until("the third look", () => state.restored.length > 0);
  assert.deepEqual([state.asked, state.restored, state.announced], [3, ["own"], ["own"]]);
});

test("a Request that is under way and succeeds says more than the forwarder: nothing is restored", async (t) => {
  const state = start(t, Number.POSITIVE_INFINITY);
  await until("the first look", () => state.asked === 1);
  state.known = true;
  await until("another look", () => state.asked === 2);
  assert.deepEqual([state.restored, state.announced], [[], []]);
});
