import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Connection, ConnectionEvent, ConnectionEventType } from "../gen/connection.js";
import { withSegment } from "../path.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { until } from "../testing/until.js";
import { timestampOf } from "../timestamp.js";
import type { Dialer } from "../transport/dial.js";
import { isBygone, nodeManagerAt, type Report } from "./node-manager.js";

test("a first message in several parts: known ones are told at once, unknown ones after the last part", async () => {
  const wire = scripted();
  const manager = nodeManagerAt(wire.dialer, "unix:///x", "pod", silentLog);
  const heard = new Map<string, (Report["kind"] | boolean)[]>();
  const watches = ["pod-5", "pod-150", "stranger"].map((id) => {
    const list: (Report["kind"] | boolean)[] = [];
    heard.set(id, list);
    return manager.watch(id, (report) =>
      list.push(report.kind === "control-back" ? report.connection !== undefined : report.kind),
    );
  });
  const part = (from: number, count: number): ConnectionEvent =>
    initial(Array.from({ length: count }, (_, n) => shown(`pod-${from + n}`)));
  wire.send(part(0, 120));
  await until("the first part", () => heard.get("pod-5")?.length === 1);
  wire.send(part(120, 60));
  assert.equal((await watches[1]?.first)?.path?.path_segments[0]?.id, "pod-150");
  assert.equal(await watches[2]?.first, undefined);
  assert.deepEqual(Object.fromEntries(heard), { "pod-5": [true], "pod-150": [true], stranger: [false] });
  for (const watch of watches) watch.stop();
  await until("the stream to end", () => wire.ended());
});

test("the end of the stream, with whatever status, is control-lost, and its return control-back", async () => {
  const wire = scripted();
  const manager = nodeManagerAt(wire.dialer, "unix:///x", "pod", silentLog);
  const heard: string[] = [];
  const watch = manager.watch("pod-1", (report) => heard.push(report.kind));
  for (const code of [Code.UNAVAILABLE, Code.CANCELLED, Code.OK]) {
    wire.send(initial([]));
    await until("the stream", () => heard.at(-1) === "control-back");
    wire.end(code);
    await until("its end", () => heard.at(-1) === "control-lost");
  }
  watch.stop();
  await until("the stream to end", () => wire.ended());
});

test("a node manager without a monitor: nobody waits for it", async () => {
  const wire = scripted();
  const manager = nodeManagerAt(wire.dialer, "unix:///x", "pod", silentLog);
  const watch = manager.watch("pod-1", () => assert.fail("a report"));
  wire.end(Code.UNIMPLEMENTED);
  assert.equal(await watch.first, undefined);
  const second = manager.watch("pod-2", () => {});
  assert.equal(await second.first, undefined);
  watch.stop();
  second.stop();
});

test("row 7.3: what the manager said before its last answer is bygone; that it hears us again never is", () => {
  const asOf = (expiresMs: number): Connection =>
    withSegment(shown("pod-1"), 0, (own) => ({ ...own, expires: timestampOf(expiresMs) }));
  const granted = { ...asOf(2_000), path: { index: 0, path_segments: asOf(2_000).path?.path_segments ?? [] } };
  for (const [expiresMs, expected] of [
    [1_000, true],
    [2_000, false],
    [3_000, false],
  ] as const) {
    assert.equal(isBygone({ kind: "shown", connection: asOf(expiresMs) }, granted), expected);
    assert.equal(isBygone({ kind: "deleted", connection: asOf(expiresMs) }, granted), expected);
    assert.equal(isBygone({ kind: "control-back", connection: asOf(expiresMs) }, granted), false);
  }
  assert.equal(isBygone({ kind: "control-lost" }, granted), false);
  assert.equal(isBygone({ kind: "shown", connection: Connection.fromPartial({ id: "bare" }) }, granted), false);
});

test("hostile events change nothing for those they do not name", async () => {
  const connection = fc.record({
    id: fc.string(),
    path: fc.option(
      fc.record({
        index: fc.nat({ max: 2 ** 32 - 1 }),
        path_segments: fc.array(
          fc.record({ name: fc.constantFrom("pod", "__proto__", ""), id: fc.constantFrom("constructor", "x", "") }),
          { maxLength: 4 },
        ),
      }),
      { nil: undefined },
    ),
    state: fc.integer({ min: -1, max: 9 }),
  });
  const events = fc.array(
    fc.record({ type: fc.integer({ min: -1, max: 5 }), connections: fc.dictionary(fc.string(), connection, { maxKeys: 4 }) }),
    { maxLength: 8 },
  );
  await fc.assert(
    fc.asyncProperty(events, async (list) => {
      const wire = scripted();
      const manager = nodeManagerAt(wire.dialer, "unix:///x", "pod", silentLog);
      const heard: string[] = [];
      const watch = manager.watch("pod-1", (report) => heard.push(report.kind));
      wire.send(initial([shown("pod-1")]));
      for (const event of list) wire.send(ConnectionEvent.fromPartial(event as never));
      wire.send(ConnectionEvent.fromPartial({ type: ConnectionEventType.DELETE, connections: { x: shown("pod-1") } }));
      await until("the last event", () => heard.at(-1) === "deleted");
      assert.deepEqual(heard, ["control-back", "deleted"]);
      watch.stop();
    }),
    { numRuns: 60 },
  );
});

function shown(id: string): Connection {
  return Connection.fromPartial({
    id: `at-${id}`,
    path: {
      index: 1,
      path_segments: [
        { name: "pod", id },
        { name: "nsmgr", id: `at-${id}` },
      ],
    },
  });
}

function initial(connections: readonly Connection[]): ConnectionEvent {
  return ConnectionEvent.fromPartial({
    type: ConnectionEventType.INITIAL_STATE_TRANSFER,
    connections: Object.fromEntries(connections.map((connection) => [connection.id, connection])),
  });
}

/** A dialer whose monitor streams say what the test sends. */
function scripted() {
  const queue: (ConnectionEvent | Code)[] = [];
  let open = 0;
  let rouse = (): void => {};
  const put = (item: ConnectionEvent | Code): void => {
    queue.push(item);
    rouse();
  };
  const dialer = {
    async *monitor(_url: string, _selector: unknown, signal: AbortSignal) {
      open += 1;
      signal.addEventListener("abort", () => rouse(), { once: true });
      try {
        while (!signal.aborted) {
          const item = queue.shift();
          if (item === undefined) await new Promise<void>((resolve) => (rouse = resolve));
          else if (typeof item !== "number") yield item;
          else if (item === Code.OK) return;
          else throw statusError(item, "scripted end");
        }
      } finally {
        open -= 1;
      }
    },
  } as unknown as Dialer;
  return { dialer, send: put, end: put, ended: () => open === 0 };
}
