import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Clock, manualClock } from "../sdk/clock.js";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, statusError } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { timestampOf } from "../sdk/timestamp.js";
import { expireEndpoints, renewLease } from "./expire.js";
import { createMemoryStores } from "./store/memory.js";
import type { Store } from "./store/store.js";
import { endpoint } from "./test-registry.js";

/** How late an entry may go. */
const slackMs = 250;

test("row 3.4: whatever is registered, refreshed and removed, each entry goes at the end of its last lease", async () => {
  const step = fc.record({
    name: fc.constantFrom("a", "b", "c", "d"),
    leaseMs: fc.integer({ min: -10, max: 5_000 }),
    afterMs: fc.nat(2_000),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const { store, clock, put, stop } = start();
      const ends = new Map<string, number>();
      for (const { name, leaseMs, afterMs } of steps) {
        clock.advance(afterMs);
        await turn();
        await put(name, clock.nowMs() + leaseMs);
        ends.set(name, clock.nowMs() + leaseMs);
        for (const [known, endMs] of ends) {
          const there = store.table.get(known) !== undefined;
          if (endMs > clock.nowMs()) assert.ok(there, `${known} has gone ${endMs - clock.nowMs()} ms early`);
          else if (endMs + slackMs < clock.nowMs() && known !== name) assert.ok(!there, `${known} stays after its lease`);
        }
      }
      clock.advance(6_000);
      await turn();
      assert.equal(store.table.size, 0);
      await stop();
    }),
    { numRuns: 200 },
  );
});

test("an entry that cannot be removed is tried again until it can", async () => {
  let failures = 3;
  const { store, clock, put, stop } = start((inner) => ({
    ...inner,
    async replace(name, expected, next) {
      if (next === undefined && failures-- > 0) throw statusError(Code.RESOURCE_EXHAUSTED, "the disk is full");
      await inner.replace(name, expected, next);
    },
  }));
  await put("a", 1_000);
  for (let i = 0; i < 3; i++) {
    clock.advance(1_500);
    await turn();
    assert.equal(store.table.size, 1);
  }
  clock.advance(1_500);
  await turn();
  assert.equal(store.table.size, 0);
  await stop();
});

test("any number of entries takes one timer, and none is left after the end", async () => {
  const armed = new Set<() => void>();
  const manual = manualClock();
  const counting: Clock = {
    nowMs: manual.nowMs,
    at(timeMs, action) {
      const disarm = manual.at(timeMs, () => {
        armed.delete(disarm);
        action();
      });
      armed.add(disarm);
      return () => {
        armed.delete(disarm);
        disarm();
      };
    },
  };
  const { put, stop } = start((inner) => inner, counting);
  for (let i = 0; i < 5_000; i++) await put(`e${i}`, 1_000 + ((i * 37) % 60_000));
  assert.equal(armed.size, 1);
  manual.advance(30_000);
  await turn();
  assert.equal(armed.size, 1);
  await stop();
  assert.equal(armed.size, 0);
});

test("an entry that comes back from the disk gets a whole period, a longer lease stays", () => {
  const entry = endpoint("a", { expiration_time: timestampOf(1_000) });
  assert.deepEqual(renewLease(entry, 50_000, 60_000).expiration_time, timestampOf(110_000));
  assert.equal(renewLease(entry, -60_000, 60_000), entry);
  assert.equal(renewLease(endpoint("b"), 0, 60_000).expiration_time, undefined);
});

/** Lets the removals that an advance of the clock has started come to their end. */
async function turn(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
}

function start(wrap: (store: Store<NetworkServiceEndpoint>) => Store<NetworkServiceEndpoint> = (store) => store, given?: Clock) {
  const clock = manualClock();
  const store = wrap(createMemoryStores().endpoints);
  const expiry = expireEndpoints(store, { clock: given ?? clock, log: silentLog });
  return {
    store,
    clock,
    stop: () => expiry.stop(),
    put: (name: string, endMs: number) =>
      store.replace(name, store.table.get(name), endpoint(name, { expiration_time: timestampOf(endMs) })),
  };
}
