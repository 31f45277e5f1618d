import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Code } from "../status.js";
import { type Fields, fieldOf } from "../transport/h2/header-decoder.js";
import { type AdmissionLimits, createAdmission, type Entering } from "./admission.js";

const open: AdmissionLimits = { ratePerS: 0, burst: 1, perTenant: 100, total: 100, quota: 0 };

function start(limits: Partial<AdmissionLimits>) {
  const time = { nowMs: 1_000_000 };
  const admission = createAdmission({ ...open, ...limits }, () => time.nowMs);
  const enter = (tenant: string, more: Partial<Entering> = {}) =>
    admission.enter({ tenant, isKnown: false, held: 0, signal: new AbortController().signal, ...more });
  return { time, enter };
}

const hintOf = (error: unknown): number => Number(fieldOf((error as { fields: Fields }).fields, "grpc-retry-pushback-ms"));

test("the rate of a tenant is bounded; the hint says when to try again, and then it is let in", async () => {
  const { time, enter } = start({ ratePerS: 10, burst: 3 });
  for (let i = 0; i < 3; i++) (await enter("a"))();
  const error = await enter("a").catch((refused: unknown) => refused);
  assert.equal((error as { code: number }).code, Code.RESOURCE_EXHAUSTED);
  assert.equal(hintOf(error), 100);
  (await enter("b"))();
  time.nowMs += hintOf(error);
  (await enter("a"))();
});

test("what exists costs a quarter: heals pass when new work no longer does", async () => {
  const { enter } = start({ ratePerS: 1, burst: 2 });
  (await enter("a"))();
  for (let i = 0; i < 4; i++) (await enter("a", { isKnown: true, held: undefined }))();
  await assert.rejects(enter("a"), { code: Code.RESOURCE_EXHAUSTED });
});

test("the quota counts what a tenant has and what is under way, and not what it has already", async () => {
  const { enter } = start({ quota: 3 });
  await enter("a", { held: 2 });
  await assert.rejects(enter("a", { held: 2 }), { code: Code.RESOURCE_EXHAUSTED, details: /give some back/ });
  await enter("a", { held: undefined });
  await enter("b", { held: 0 });
});

test("who waits is let in one tenant after the other, what exists before what is new", async () => {
  const { enter } = start({ total: 1 });
  const order: string[] = [];
  const leave = await enter("first");
  const visits = [
    ["storm 1", "storm", false],
    ["storm 2", "storm", false],
    ["storm 3", "storm", false],
    ["other 1", "other", false],
    ["heal", "third", true],
  ] as const;
  const all = visits.map(async ([name, tenant, isKnown]) => {
    const left = await enter(tenant, { isKnown });
    order.push(name);
    left();
  });
  leave();
  await Promise.all(all);
  assert.deepEqual(order, ["heal", "storm 1", "other 1", "storm 2", "storm 3"]);
});

test("a tenant at its bound keeps nobody else out, and a caller that leaves gives its place up", async () => {
  const { enter } = start({ perTenant: 1, total: 2 });
  const leave = await enter("storm");
  const gone = new AbortController();
  const waiting = enter("storm", { signal: gone.signal });
  const next = enter("storm");
  gone.abort(new Error("gone"));
  await assert.rejects(waiting, /gone/);
  (await enter("other"))();
  leave();
  (await next)();
});

test("new requests that never end leave room for those that heal", async () => {
  const { enter } = start({ total: 8, perTenant: 8 });
  for (let i = 0; i < 6; i++) await enter("a");
  const late = enter("a");
  await enter("a", { isKnown: true, held: undefined });
  (await enter("a", { isKnown: true, held: undefined }))();
  await Promise.resolve();
  assert.equal(await Promise.race([late.then(() => "in"), Promise.resolve("waits")]), "waits");
});

test("the line of one tenant is bounded", async () => {
  const { enter } = start({ total: 1 });
  await enter("a");
  const waiting = Array.from({ length: 256 }, () => enter("a"));
  await assert.rejects(enter("a"), { code: Code.RESOURCE_EXHAUSTED });
  assert.equal(waiting.length, 256);
});

test("for any order of coming and going the bounds hold, nobody is forgotten, and the place is free at the end", async () => {
  const event = fc.record({
    tenant: fc.constantFrom("a", "b", "c"),
    isKnown: fc.boolean(),
    leaves: fc.boolean(),
    aborts: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 60 }), async (events) => {
      const { enter } = start({ perTenant: 2, total: 3 });
      const inside: { tenant: string; leave: () => void }[] = [];
      const pending: Promise<unknown>[] = [];
      let [arrived, aborted] = [0, 0];
      for (const { tenant, isKnown, leaves, aborts } of events) {
        const controller = new AbortController();
        pending.push(
          enter(tenant, { isKnown, signal: controller.signal }).then(
            (leave) => {
              arrived++;
              inside.push({ tenant, leave });
              assert.ok(inside.length <= 3, "total");
              assert.ok(inside.filter((one) => one.tenant === tenant).length <= 2, "per tenant");
            },
            () => aborted++,
          ),
        );
        await Promise.resolve();
        if (leaves) inside.shift()?.leave();
        if (aborts) controller.abort(new Error("gone"));
        await new Promise((resolve) => setImmediate(resolve));
      }
      while (inside.length > 0) {
        inside.shift()?.leave();
        await new Promise((resolve) => setImmediate(resolve));
      }
      await Promise.all(pending);
      assert.equal(arrived + aborted, events.length);
      for (const tenant of ["a", "a", "b"]) await enter(tenant);
    }),
    { numRuns: 60 },
  );
});
