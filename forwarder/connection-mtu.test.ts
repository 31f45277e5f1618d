import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, Mechanism } from "../sdk/gen/connection.js";
import { Code } from "../sdk/status.js";
import { agreedMtuBytes, onwardMtuBytes, type Side, withWishedMtu } from "./connection-mtu.js";
import type { HeldConnection } from "./connections.js";

const connectionOf = (MTU: number): Connection => Connection.fromPartial({ id: "c", context: { MTU } });

function heldWith(answered: number, wishedMtuBytes: number | undefined): HeldConnection {
  const connection = connectionOf(answered);
  return { nextHop: { url: "", name: "" }, answered: connection, downstream: connection, generation: 1, wishedMtuBytes };
}

/** A side that carries so much, of which so much was seen to pass. */
function sideOf(limit: number | undefined, proven?: number | "nothing to see"): Side {
  const kind = {
    mtuBytes: async () => limit,
    ...(proven === "nothing to see" ? {} : { provenMtuBytes: async () => proven }),
  };
  return { kind, mechanism: Mechanism.fromPartial({}) };
}

const workload = sideOf(undefined, "nothing to see");

test("row 1.24: an MTU that is only repeated says nothing: what was wished for at first stays in force, for clients of NSM too", () => {
  const mtuOf = (asked: number, held: HeldConnection | undefined): number | undefined =>
    withWishedMtu(connectionOf(asked), held).context?.MTU;
  assert.equal(mtuOf(1350, heldWith(1350, 0)), 0, "no wish");
  assert.equal(mtuOf(1350, heldWith(1350, 1400)), 1400);
  assert.equal(mtuOf(1300, heldWith(1350, 1400)), 1300, "another value is a wish");
  assert.equal(mtuOf(0, heldWith(1350, 1400)), 0);
  assert.equal(mtuOf(1350, heldWith(1350, undefined)), 1350, "of an earlier version's ledger");
  assert.equal(mtuOf(1350, undefined), 1350, "a first request");
});

test("row 1.24: what lives grows to what was seen on every side, falls at once, and what is new has what its sides carry", async () => {
  const answer = connectionOf(0);
  const agreed = (before: HeldConnection | undefined, ...sides: readonly Side[]) =>
    agreedMtuBytes(connectionOf(0), answer, [workload, ...sides], before);
  assert.equal(await agreed(undefined, sideOf(1450)), 1450, "new");
  assert.equal(await agreed(heldWith(1350, 0), sideOf(1450)), 1350, "nothing was seen");
  assert.equal(await agreed(heldWith(1350, 0), sideOf(1450, 1400)), 1400);
  assert.equal(await agreed(heldWith(1350, 0), sideOf(1450, 1450)), 1450);
  assert.equal(await agreed(heldWith(1350, 0), sideOf(1450, 1450), sideOf(1450)), 1350, "two tunnels, one unseen");
  assert.equal(await agreed(heldWith(1350, 0), sideOf(1300)), 1300);
  assert.equal(await agreed(heldWith(1350, 0)), 1500, "both ends are of this node");
  assert.equal(await agreedMtuBytes(connectionOf(1380), answer, [sideOf(1450, 1450)], heldWith(1350, 1380)), 1380, "as wished");
  await assert.rejects(agreed(heldWith(1350, 0), sideOf(60)), { code: Code.FAILED_PRECONDITION, details: /60 bytes/ });
});

test("row 1.24: the next hop hears of no more than was seen here", async () => {
  const onward = (before: HeldConnection | undefined, side: Side) => onwardMtuBytes(connectionOf(0), [workload, side], before);
  assert.equal(await onward(heldWith(1350, 0), sideOf(1450)), 1350);
  assert.equal(await onward(heldWith(1350, 0), sideOf(1450, 1450)), 1450);
  assert.equal(await onwardMtuBytes(connectionOf(0), [workload], heldWith(1350, 0)), 0, "nothing restricts it here");
});
