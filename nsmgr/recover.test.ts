import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Connection, ConnectionEvent } from "../sdk/gen/connection.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { createLocalEndpoints } from "./local-endpoints.js";
import { recoverConnections } from "./recover.js";

const forwarder = NetworkServiceEndpoint.fromPartial({ name: "f", url: "unix:///f", network_service_names: ["forwarder"] });

test("row 11.1: what is unknown counts as gone only when a forwarder has come back and shown what it has", async (t) => {
  const manager = start(t);
  let isKnown = false;
  const known = manager.recovery.known(manager.stop.signal).then(() => {
    isKnown = true;
  });
  manager.locals.set(forwarder);
  await twoSeconds(t);
  assert.equal(isKnown, false, "it is still being read from");
  manager.shows();
  await known;
});

test("one that waits for a forwarder in vain is told to close again", async (t) => {
  const manager = start(t);
  const limit = new AbortController();
  const known = manager.recovery.known(limit.signal);
  await twoSeconds(t);
  limit.abort();
  await assert.rejects(known, { code: Code.UNAVAILABLE, details: /close again/ });
});

async function twoSeconds(t: TestContext): Promise<void> {
  for (let steps = 0; steps < 40; steps++) {
    t.mock.timers.tick(50);
    await settle();
  }
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 10; turns++) await Promise.resolve();
}

function start(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const locals = createLocalEndpoints();
  const stop = new AbortController();
  t.after(() => stop.abort());
  let shows = (): void => {};
  const shown = new Promise<void>((resolve) => {
    shows = resolve;
  });
  const recovery = recoverConnections({
    name: "manager",
    forwarderServiceName: "forwarder",
    locals,
    dialer: {
      async *monitor() {
        await shown;
        yield ConnectionEvent.fromPartial({});
      },
    },
    hub: { get: () => undefined },
    announcements: { publish() {} },
    serialize: { restore: () => true },
    expire: { arm() {} },
    handler: { request: async () => Connection.fromPartial({}), close: async () => {} },
    log: silentLog,
    signal: stop.signal,
  });
  return { locals, recovery, stop, shows: () => shows() };
}
