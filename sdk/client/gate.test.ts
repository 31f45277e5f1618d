import assert from "node:assert/strict";
import { test } from "node:test";
import { createGate, Urgency } from "./gate.js";

test("healing goes before refreshes, refreshes before newcomers", async () => {
  const gate = createGate(1);
  const order: string[] = [];
  const signal = new AbortController().signal;
  let open = (): void => {};
  const first = gate.run(Urgency.NEW, signal, () => new Promise<void>((resolve) => (open = resolve)));
  await Promise.resolve();
  const rest = [
    gate.run(Urgency.NEW, signal, async () => void order.push("new")),
    gate.run(Urgency.REFRESH, signal, async () => void order.push("refresh")),
    gate.run(Urgency.HEAL, signal, async () => void order.push("heal")),
  ];
  open();
  await Promise.all([first, ...rest]);
  assert.deepEqual(order, ["heal", "refresh", "new"]);
});

test("no more than allowed run at once, and all run", async () => {
  const gate = createGate(3);
  let now = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 50 }, () =>
      gate.run(Urgency.HEAL, new AbortController().signal, async () => {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setImmediate(resolve));
        now -= 1;
      }),
    ),
  );
  assert.deepEqual({ now, most }, { now: 0, most: 3 });
});

test("one who stops waiting leaves the queue, and a failure gives its place back", async () => {
  const gate = createGate(1);
  const controller = new AbortController();
  let fail = (): void => {};
  const first = gate.run(
    Urgency.NEW,
    controller.signal,
    () => new Promise((_, reject) => (fail = () => reject(new Error("no")))),
  );
  await Promise.resolve();
  const waiting = gate.run(Urgency.NEW, AbortSignal.abort(new Error("gone")), async () => {});
  await assert.rejects(waiting, /gone/);
  const leaving = gate.run(Urgency.NEW, controller.signal, async () => {});
  await Promise.resolve();
  controller.abort(new Error("left"));
  await assert.rejects(leaving, /left/);
  fail();
  await assert.rejects(first, /no/);
  assert.equal(await gate.run(Urgency.NEW, new AbortController().signal, async () => "in"), "in");
});
