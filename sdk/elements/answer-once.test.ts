import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, statusError } from "../status.js";
import { timestampOf } from "../timestamp.js";
import { answerOnce } from "./answer-once.js";
import { enterPath } from "./enter-path.js";

test("row 11.4: a first Request that comes twice is worked on once, and both are given the one answer", async () => {
  const hop = start();
  const both = [hop.request(), hop.request()];
  hop.answer();
  const [one, other] = await Promise.all(both);
  assert.equal(hop.asked.length, 1);
  assert.deepEqual(one, other);
  assert.equal(one?.path?.path_segments[1]?.id, hop.asked[0]);
  const later = hop.request();
  hop.answer();
  await later;
  assert.equal(hop.asked.length, 2, "it is not under way any more");
});

for (const { why, other } of [
  { why: "asks anew", other: { expiresMs: 2_000 } },
  { why: "is another caller", other: { id: "c2" } },
  { why: "names our id", other: { ownId: "ours" } },
]) {
  test(`who ${why} has a Request of its own`, async () => {
    const hop = start();
    const both = [hop.request(), hop.request(other)];
    hop.answer();
    await Promise.all(both);
    assert.equal(hop.asked.length, 2);
  });
}

test("a refusal is that of both; nothing is kept of it", async () => {
  const hop = start();
  const both = [hop.request(), hop.request()];
  hop.fail(statusError(Code.RESOURCE_EXHAUSTED, "no address"));
  for (const one of both) await assert.rejects(one, { code: Code.RESOURCE_EXHAUSTED });
  assert.equal(hop.asked.length, 1);
});

test("when the first one's caller leaves, the next one begins by itself; one that only waits leaves alone", async () => {
  const hop = start();
  const [first, waiting] = [new AbortController(), new AbortController()];
  const calls = [
    hop.request({ signal: first.signal }),
    hop.request({ signal: waiting.signal }),
    hop.request(),
    hop.request(),
  ] as const;
  waiting.abort();
  await assert.rejects(calls[1], { name: "AbortError" });
  assert.equal(hop.asked.length, 1);
  first.abort();
  hop.fail(statusError(Code.CANCELLED, "the caller has gone"));
  await assert.rejects(calls[0], { code: Code.CANCELLED });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(hop.asked.length, 2);
  hop.answer();
  const [third, fourth] = await Promise.all([calls[2], calls[3]]);
  assert.deepEqual(third, fourth);
});

test("an answer is undone when none of its callers has taken it", async () => {
  const hop = start();
  const both = [hop.request(), hop.request()];
  hop.answer();
  await Promise.all(both);
  assert.equal(hop.untaken.length, 2);
  hop.untaken[1]?.();
  assert.deepEqual(hop.undone, []);
  hop.untaken[0]?.();
  assert.deepEqual(hop.undone, hop.asked);
});

interface Ask {
  readonly id?: string;
  readonly ownId?: string;
  readonly expiresMs?: number;
  readonly signal?: AbortSignal;
}

/** A hop whose end answers when it is told to. */
function start() {
  const waiting: { readonly answer: () => void; readonly fail: (error: Error) => void }[] = [];
  const hop = {
    /** Ids that were given to Requests that came to the end. */
    asked: [] as string[],
    untaken: [] as (() => void)[],
    undone: [] as string[],
    request({ id = "c1", ownId, expiresMs = 1_000, signal = new AbortController().signal }: Ask = {}): Promise<Connection> {
      const own = ownId === undefined ? [] : [{ name: "hop", id: ownId }];
      const path = { index: 0, path_segments: [{ name: "client", id, expires: timestampOf(expiresMs) }, ...own] };
      const request = NetworkServiceRequest.fromPartial({ connection: { id, network_service: "s", path } });
      return handler.request(request, { ...backgroundCall(signal), whenUntaken: (undo) => void hop.untaken.push(undo) });
    },
    answer() {
      for (const { answer } of waiting.splice(0)) answer();
    },
    fail(error: Error) {
      for (const { fail } of waiting.splice(0)) fail(error);
    },
  };
  const handler = chain<ConnectionApi>("hop", ["request", "close"])
    .use(enterPath("hop"))
    .use(answerOnce())
    .end({
      async request({ connection = Connection.fromPartial({}) }, { whenUntaken }) {
        hop.asked.push(connection.id);
        whenUntaken?.(() => void hop.undone.push(connection.id));
        await new Promise<void>((resolve, reject) => waiting.push({ answer: resolve, fail: reject }));
        return connection;
      },
      close: async () => {},
    });
  return hop;
}
