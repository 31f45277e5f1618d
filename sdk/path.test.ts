import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Connection } from "./gen/connection.js";
import { enterHop, leaveHop, maxPathSegments, nextSegment, previousSegment, trimPath } from "./path.js";
import { Code } from "./status.js";

const ids = (): (() => string) => {
  let count = 0;
  return () => `new-${++count}`;
};

test("a request without a path gets segment 0 with the connection's own id", () => {
  const { connection } = enterHop(Connection.fromPartial({ id: "c" }), "client", ids());
  assert.deepEqual(connection.path, { index: 0, path_segments: [{ name: "client", id: "c", token: "", metrics: {} }] });
});

test("each hop appends itself and takes the new id", () => {
  const newId = ids();
  const first = enterHop(Connection.fromPartial({ id: "c" }), "client", newId).connection;
  const second = enterHop(first, "nsmgr", newId);
  assert.equal(second.connection.id, "new-1");
  assert.equal(second.connection.path?.index, 1);
  assert.equal(previousSegment(second.connection)?.name, "client");
  const back = leaveHop(enterHop(second.connection, "forwarder", newId).connection, second);
  assert.equal(back.id, "c");
  assert.equal(back.path?.index, 0);
  assert.deepEqual(
    back.path?.path_segments.map(({ name }) => name),
    ["client", "nsmgr", "forwarder"],
  );
});

test("a refresh through the same hops keeps every id; another hop gets a fresh one", () => {
  const newId = ids();
  const first = enterHop(Connection.fromPartial({ id: "c" }), "client", newId).connection;
  const second = enterHop(first, "nsmgr", newId);
  const again = enterHop(leaveHop(second.connection, second), "nsmgr", newId).connection;
  assert.equal(again.id, second.connection.id);
  const renamed = enterHop(leaveHop(second.connection, second), "other", newId).connection;
  assert.notEqual(renamed.id, second.connection.id);
  assert.equal(renamed.path?.path_segments[1]?.name, "other");
});

test("entering twice under one name stays in the same segment", () => {
  const newId = ids();
  const once = enterHop(Connection.fromPartial({ id: "c" }), "nsmgr", newId).connection;
  assert.deepEqual(enterHop(once, "nsmgr", newId).connection, once);
});

const segments = (...names: string[]) => names.map((name) => ({ name, id: `${name}-id` }));
const refusals: { why: string; connection: Parameters<typeof Connection.fromPartial>[0] }[] = [
  { why: "index beyond the segments", connection: { id: "a-id", path: { index: 7, path_segments: segments("a") } } },
  { why: "id of another segment", connection: { id: "b-id", path: { index: 0, path_segments: segments("a", "b") } } },
  {
    why: "a loop",
    connection: {
      id: "a0-id",
      path: { index: 0, path_segments: segments(...Array.from({ length: maxPathSegments + 1 }, (_, i) => `a${i}`)) },
    },
  },
];
for (const { why, connection } of refusals) {
  test(`refused: ${why}`, () => {
    assert.throws(() => enterHop(Connection.fromPartial(connection), "me", ids()), { code: Code.INVALID_ARGUMENT });
  });
}

test("trimming cuts what follows the current segment and nothing else", () => {
  const connection = Connection.fromPartial({ id: "a-id", path: { index: 0, path_segments: segments("a", "b", "c") } });
  assert.equal(nextSegment(connection)?.name, "b");
  assert.deepEqual(
    trimPath(connection).path?.path_segments.map(({ name }) => name),
    ["a"],
  );
});

test("any path either is refused or leaves the hop as it was entered", () => {
  const anySegment = fc.record({ name: fc.string({ maxLength: 3 }), id: fc.string({ maxLength: 3 }) });
  fc.assert(
    fc.property(fc.array(anySegment, { maxLength: 5 }), fc.nat(6), fc.string({ maxLength: 3 }), (path_segments, index, id) => {
      const sent = Connection.fromPartial({ id, path: { index, path_segments } });
      try {
        const hop = enterHop(sent, "me", ids());
        const current = hop.connection.path?.path_segments[hop.connection.path.index];
        assert.equal(current?.name, "me");
        assert.equal(current?.id, hop.connection.id);
        assert.equal(leaveHop(hop.connection, hop).path?.index, hop.callerIndex);
      } catch (error) {
        assert.equal((error as { code?: number }).code, Code.INVALID_ARGUMENT);
      }
    }),
  );
});
