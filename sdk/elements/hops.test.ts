// Hops joined by real sockets: forward, undo, monitor of neighbours.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, State } from "../gen/connection.js";
import { Code, statusError } from "../status.js";
import { fresh, startThreeHops } from "../testing/three-hops.js";
import { until } from "../testing/until.js";

test("row 1.30: a request passes three hops and comes back in the caller's terms; close reaches the end", async (t) => {
  const mesh = await startThreeHops(t);
  const answer = await mesh.request();
  assert.deepEqual(
    answer.path?.path_segments.map(({ name }) => name),
    ["client", "one", "two", "end"],
  );
  assert.equal(answer.path?.index, 0);
  assert.deepEqual(mesh.live(), [1, 1, 1]);
  const again = await mesh.request(answer);
  assert.deepEqual(
    again.path?.path_segments.map(({ id }) => id),
    answer.path?.path_segments.map(({ id }) => id),
  );
  await mesh.close(answer);
  assert.deepEqual(mesh.live(), [0, 0, 0]);
});

test("a failure at the end leaves nothing at any hop and reaches the caller with code and text", async (t) => {
  const mesh = await startThreeHops(t);
  mesh.answer = async () => {
    throw statusError(Code.RESOURCE_EXHAUSTED, "no address left in 10.0.0.0/30");
  };
  await assert.rejects(mesh.request(), { code: Code.RESOURCE_EXHAUSTED, details: "no address left in 10.0.0.0/30" });
  assert.deepEqual(mesh.live(), [0, 0, 0]);
});

test("a caller that gives up while the end works leaves nothing at any hop", async (t) => {
  const mesh = await startThreeHops(t);
  const working = new AbortController();
  const caller = new AbortController();
  mesh.answer = async (_request, { signal }) => {
    caller.abort();
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    working.abort();
    throw signal.reason;
  };
  await assert.rejects(mesh.request(undefined, { signal: caller.signal }), { code: Code.CANCELLED });
  await until("the end was cut", () => working.signal.aborted || undefined, 5000);
  await until("all hops are empty", () => mesh.live().every((count) => count === 0) || undefined, 5000);
});

test("an end that answers too late for its caller is closed again", async (t) => {
  const mesh = await startThreeHops(t);
  const caller = new AbortController();
  mesh.answer = async (request, { signal }) => {
    caller.abort();
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    return { ...Connection.fromPartial({}), ...request.connection };
  };
  await assert.rejects(mesh.request(undefined, { signal: caller.signal }), { code: Code.CANCELLED });
  await until("all hops are empty", () => mesh.live().every((count) => count === 0) || undefined, 5000);
});

test("the deadline travels: every hop sees about the same one", async (t) => {
  const mesh = await startThreeHops(t);
  const deadlineMs = Date.now() + 30_000;
  await mesh.request(undefined, { deadlineMs });
  assert.equal(mesh.deadlines.length, 3);
  for (const seen of mesh.deadlines) assert.ok(Math.abs((seen ?? 0) - deadlineMs) < 2000, `${seen} against ${deadlineMs}`);
});

test("row 7.2: a refresh through a restarted hop that fails does not tear down what lives further on", async (t) => {
  const mesh = await startThreeHops(t);
  const answer = await mesh.request();
  await mesh.restartFirst();
  mesh.answer = async (_request, { signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    throw signal.reason;
  };
  await assert.rejects(mesh.request(answer, { deadlineMs: Date.now() + 200 }), { code: Code.DEADLINE_EXCEEDED });
  assert.deepEqual(mesh.live(), [0, 1, 1]);
  mesh.answer = async ({ connection }) => ({ ...Connection.fromPartial({}), ...connection });
  const again = await mesh.request(answer);
  assert.deepEqual(
    again.path?.path_segments.map(({ id }) => id),
    answer.path?.path_segments.map(({ id }) => id),
  );
  assert.deepEqual(mesh.live(), [1, 1, 1]);
});

test("an answer for another connection is refused and closed", async (t) => {
  const mesh = await startThreeHops(t);
  mesh.forge = (answer) => ({ ...answer, path: { index: 0, path_segments: [] } });
  await assert.rejects(mesh.request(), { code: Code.INTERNAL, message: /answered for connection/ });
  assert.deepEqual(mesh.live().slice(0, 2), [0, 0]);
});

test("row 1.31: the end of a neighbour makes connections DOWN at every hop, its return and a refresh UP", async (t) => {
  const mesh = await startThreeHops(t);
  const answer = await mesh.request();
  const states = mesh.states();
  await states.seen(State.UP);
  await mesh.stopEnd();
  await states.seen(State.DOWN);
  await mesh.startEnd();
  await mesh.request(answer);
  await states.seen(State.UP);
});

test("150 random requests, refreshes, closes and changes of mind leave nothing at any hop", async (t) => {
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`seed ${seed}`);
  const random = seeded(seed);
  const mesh = await startThreeHops(t);
  mesh.answer = async ({ connection }, { signal }) => {
    if (random() < 0.2) throw statusError(Code.UNAVAILABLE, "not now");
    if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, random() * 10));
    signal.throwIfAborted();
    return { ...Connection.fromPartial({}), ...connection };
  };
  const cycle = async (): Promise<void> => {
    let live: Connection | undefined;
    for (let i = 0; i < 6; i++) {
      const caller = new AbortController();
      const giveUp = random() < 0.3 ? setTimeout(() => caller.abort(), random() * 15) : undefined;
      const asked = live ?? fresh("one");
      try {
        live = await mesh.request(asked, { signal: caller.signal });
      } catch (error) {
        // Who withdraws a first request may cross its answer: as every hop does, it closes what it cannot know to be there,
        // by the id that it gave to the next segment.
        if (live === undefined && (error as { code?: unknown }).code === Code.CANCELLED) await mesh.close(asked);
      }
      clearTimeout(giveUp);
      if (live !== undefined && random() < 0.3) {
        await mesh.close(live);
        live = undefined;
      }
    }
    if (live !== undefined) await mesh.close(live);
  };
  await Promise.all(Array.from({ length: 25 }, cycle));
  await until("all hops are empty", () => mesh.live().every((count) => count === 0) || undefined, 10_000);
});

test("a connection closed at the end from inside is told as DOWN to the client, once", async (t) => {
  const mesh = await startThreeHops(t);
  await mesh.request();
  const states = mesh.states();
  await states.seen(State.UP);
  mesh.closeAtEnd();
  await states.seen(State.DOWN);
});

test("a target that does not answer at all fails within the dial timeout", async (t) => {
  const mesh = await startThreeHops(t);
  await mesh.stopEnd();
  await assert.rejects(mesh.request(), { code: Code.UNAVAILABLE });
  assert.deepEqual(mesh.live(), [0, 0, 0]);
});

/** Park and Miller's generator: a run can be repeated by its seed. */
function seeded(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
