import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Connection } from "../gen/connection.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { lateCloses } from "./late-closes.js";
import { keepOwedCloses } from "./owed-closes.js";

const url = "tcp://198.18.0.2:5001";
const connection = Connection.fromPartial({
  id: "own",
  path: {
    index: 0,
    path_segments: [
      { name: "forwarder", id: "own" },
      { name: "manager", id: "theirs" },
    ],
  },
});

test("row 11.1: a close that nobody had heard when the process was killed is told by its next run", async (t) => {
  const folder = folderOf(t);
  const killed = start(folder);
  killed.late.begin(url, connection);
  assert.deepEqual(killed.closed, []);
  const next = start(folder);
  await next.settled();
  assert.deepEqual(next.closed, [`${url} theirs`]);
  assert.deepEqual(readdirSync(folder), []);
});

test("what was heard or refused is owed to nobody", async (t) => {
  const folder = folderOf(t);
  const { late } = start(folder);
  late.begin(url, connection);
  assert.equal(readdirSync(folder).length, 1);
  late.heard(url, connection);
  assert.deepEqual(readdirSync(folder), []);
  late.begin(url, connection);
  late.close(url, connection, statusError(Code.PERMISSION_DENIED, "not yours"));
  assert.deepEqual(readdirSync(folder), []);
});

test("row 11.4: a connection that is asked for again is not closed, though the first try fails only then", async (t) => {
  const folder = folderOf(t);
  const run = start(folder);
  run.late.begin(url, connection);
  run.late.forget(url, connection);
  assert.deepEqual(readdirSync(folder), [], "the next run must not close it either");
  run.late.close(url, connection, statusError(Code.DEADLINE_EXCEEDED, "no answer"));
  run.late.begin(url, connection);
  run.late.close(url, connection, statusError(Code.DEADLINE_EXCEEDED, "no answer"));
  await run.settled();
  assert.deepEqual(run.closed, [`${url} theirs`], "only what was closed after it was asked for");
});

test("half a note is dropped, others are read", async (t) => {
  const folder = folderOf(t);
  const owed = keepOwedCloses(folder, silentLog);
  owed.note({ url, connection });
  writeFileSync(join(folder, "x.close"), new Uint8Array([0, 0, 1, 0, 65]));
  assert.deepEqual(owed.all(), [{ url, connection }]);
  assert.equal(readdirSync(folder).length, 1);
});

test("a folder that cannot be written costs nothing but the note", (t) => {
  const folder = folderOf(t);
  const owed = keepOwedCloses(folder, silentLog);
  rmSync(folder, { recursive: true });
  owed.note({ url, connection });
  owed.settle({ url, connection });
});

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "wt-owed-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A run of a process. */
function start(folder: string) {
  const closed: string[] = [];
  let heard = (): void => {};
  const settled = new Promise<void>((resolve) => {
    heard = resolve;
  });
  const kept = keepOwedCloses(folder, silentLog);
  const owed: typeof kept = {
    ...kept,
    settle(one) {
      kept.settle(one);
      if (closed.length > 0) heard();
    },
  };
  const connections = (at: string) => ({
    request: async () => Connection.fromPartial({}),
    close: async ({ path }: Connection) => void closed.push(`${at} ${path?.path_segments[1]?.id}`),
  });
  const late = lateCloses({ dialer: { connections }, log: silentLog, owed, pausesMs: [1] });
  return {
    late,
    closed,
    async settled() {
      // the pauses of late closes do not keep a process alive
      const alive = setInterval(() => {}, 1_000);
      await settled;
      clearInterval(alive);
    },
  };
}
