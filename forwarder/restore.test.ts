import assert from "node:assert/strict";
import { test } from "node:test";
import type { OwedClose } from "../sdk/elements/owed-closes.js";
import { Connection } from "../sdk/gen/connection.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { createConnections, encodeRecord } from "./connections.js";
import type { CrossConnect } from "./dataplane/dataplane.js";
import { createNoDataPlane } from "./dataplane/none.js";
import { restoreConnections } from "./restore.js";
import { createVniPool } from "./vni.js";

test("row 11.1: the next hops of what does not live any more, or was only being made, are owed a close", async () => {
  const owed: OwedClose[] = [];
  const nowMs = 1_000;
  const lost = [
    crossConnect("dead", nowMs + 1),
    crossConnect("expired", nowMs),
    { ...crossConnect("torn", nowMs + 1), record: new Uint8Array([1]) },
  ];
  const connections = createConnections();
  await restoreConnections({
    dataPlane: {
      ...createNoDataPlane(),
      recover: async () => ({ adopted: [crossConnect("lives", nowMs + 1)], reclaimed: [], lost }),
    },
    connections,
    vnis: createVniPool(Math.random),
    wireguardEnds: { restore() {} },
    owed: { note: (one) => void owed.push(one) },
    nowMs,
    log: silentLog,
    signal: new AbortController().signal,
  });
  assert.deepEqual(
    owed.map(({ url, connection }) => [url, connection.id, connection.mechanism?.type]),
    [["tcp://next", "dead", "THEIRS"]],
    "what has expired here expires there, and nobody can tell who is next on an unreadable record",
  );
  assert.ok(connections.get("lives") !== undefined && connections.get("dead") === undefined);
});

function crossConnect(id: string, expiresAtMs: number): CrossConnect {
  const answered = Connection.fromPartial({ id });
  const downstream = Connection.fromPartial({ id, mechanism: { type: "THEIRS" } });
  return {
    id,
    generation: 1,
    payload: "ETHERNET",
    mtuBytes: 1450,
    client: { kind: "noop", mechanism: "KERNEL" },
    endpoint: { kind: "noop", mechanism: "VXLAN" },
    expiresAtMs,
    record: encodeRecord({ nextHop: { url: "tcp://next", name: "nse" }, answered, downstream }),
  };
}
