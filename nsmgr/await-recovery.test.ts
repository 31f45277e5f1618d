import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, chain } from "../sdk/chain.js";
import { enterPath } from "../sdk/elements/enter-path.js";
import { serialize } from "../sdk/elements/serialize.js";
import { Connection } from "../sdk/gen/connection.js";
import { Code } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { awaitRecovery } from "./await-recovery.js";

test("row 7.4: a client restarted with its manager waits until that knows again what it had, and is not given a second one", async () => {
  const mesh = start();
  const recovery = mesh.recovers();
  const asked = mesh.ask("c1");
  const other = mesh.ask("c2");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(mesh.passed, []);
  mesh.serial.restore(formerly("c1"));
  recovery.end();
  await assert.rejects(asked, { code: Code.ALREADY_EXISTS, details: /ask again for it as shown/ });
  await other;
  assert.deepEqual(mesh.passed, ["c2"], "a newcomer has waited, and that is all");
  await mesh.ask("c1", "manager-c1");
  assert.deepEqual(mesh.passed, ["c2", "c1"], "asked for as shown it is known, and need not wait");
  assert.ok([...mesh.serial.connections()].some(({ id }) => id === "manager-c1"));
});

test("one that does not know what it had asks anew, after the recovery: it gets a new connection, as ever", async () => {
  const mesh = start();
  mesh.serial.restore(formerly("c1"));
  await mesh.ask("c1");
  assert.deepEqual(mesh.passed, ["c1"]);
});

test("a caller that gives up does not wait longer", async () => {
  const mesh = start();
  mesh.recovers();
  const asked = mesh.ask("c1");
  await new Promise((resolve) => setImmediate(resolve));
  mesh.stop.abort(new Error("gone"));
  await assert.rejects(asked, /gone/);
  assert.deepEqual(mesh.passed, []);
});

/** As a former run of the manager had it. */
function formerly(clientId: string): Connection {
  const id = `manager-${clientId}`;
  const path_segments = [
    { name: "client", id: clientId },
    { name: "manager", id },
    { name: "forwarder", id: "f" },
  ];
  return Connection.fromPartial({ id, path: { index: 1, path_segments } });
}

function start() {
  const serial = serialize({ log: silentLog });
  const stop = new AbortController();
  const passed: string[] = [];
  let settled = (_signal: AbortSignal): Promise<void> => Promise.resolve();
  const handler = chain<ConnectionApi>("manager", ["request", "close"])
    .use(enterPath("manager"))
    .use(serial)
    .use(awaitRecovery({ recovery: () => ({ settled: (signal) => settled(signal) }), serialize: serial }))
    .end({
      async request({ connection }) {
        passed.push(connection?.path?.path_segments[0]?.id ?? "");
        return connection ?? Connection.fromPartial({});
      },
      close: async () => {},
    });
  return {
    serial,
    stop,
    passed,
    /** From now on a forwarder shows what it has. */
    recovers() {
      let end = (): void => {};
      const ended = new Promise<void>((resolve) => {
        end = resolve;
      });
      settled = (signal) =>
        Promise.race([
          ended,
          new Promise<void>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })),
        ]);
      return { end };
    },
    /** @param known  the manager's id, if the client has been shown it */
    ask(id: string, known?: string): Promise<Connection> {
      const shown = known === undefined ? [] : [{ name: "manager", id: known }];
      const connection = Connection.fromPartial({ id, path: { index: 0, path_segments: [{ name: "client", id }, ...shown] } });
      return handler.request({ connection, mechanism_preferences: [] }, backgroundCall(stop.signal));
    },
  };
}
