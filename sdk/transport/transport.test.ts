import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ConnectionApi } from "../api.js";
import type { CallContext, Handler } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, statusError } from "../status.js";
import { createHealth, ServingStatus } from "../telemetry/health.js";
import { silentLog } from "../telemetry/log.js";
import { createDialer, type Dialer } from "./dial.js";
import type { ServiceBinding } from "./edge.js";
import { type Listener, listen } from "./listen.js";
import { connectionService, healthService, monitorService } from "./services.js";

const request = NetworkServiceRequest.fromPartial({ connection: { id: "c1", labels: { app: "x" } } });

for (const kind of ["unix", "tcp"] as const) {
  test(`a request and a close travel over ${kind}, with caller, deadline, trace and headers`, async (t) => {
    const seen: CallContext[] = [];
    const closed: string[] = [];
    const { url, dialer } = await start(t, kind, [
      connectionService({
        request: async (input, context) => {
          seen.push(context);
          context.reply("x-answer", "42");
          return { ...Connection.fromPartial({}), ...input.connection, payload: "IP" };
        },
        close: async (connection) => void closed.push(connection.id),
      }),
    ]);
    const headers = new Map<string, string>();
    const deadlineMs = Date.now() + 20_000;
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const answer = await dialer.connections(url).request(request, {
      ...call(),
      deadlineMs,
      traceparent,
      metadata: { "x-question": "6x7" },
      onHeader: (name, value) => headers.set(name, value),
    });
    await dialer.connections(url).close(answer, call());
    assert.deepEqual([answer.id, answer.payload, answer.labels], ["c1", "IP", { app: "x" }]);
    assert.deepEqual(closed, ["c1"]);
    assert.equal(headers.get("x-answer"), "42");
    const [context] = seen;
    assert.ok(context !== undefined);
    assert.ok(Math.abs((context.deadlineMs ?? 0) - deadlineMs) < 2000);
    assert.equal(context.traceparent, traceparent);
    assert.deepEqual(context.metadata("x-question"), ["6x7"]);
    if (kind === "unix")
      assert.deepEqual(context.peer, { kind, pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
    else assert.match(context.peer.kind === "tcp" ? context.peer.address : "", /^(::ffff:)?127\.0\.0\.1:\d+$/);
  });
}

test("statuses arrive with code and text; a bug arrives as INTERNAL without its text", async (t) => {
  const { url, dialer } = await start(t, "unix", [
    connectionService(
      handler(async ({ connection }) => {
        if (connection?.id === "bug") throw new TypeError("secret");
        throw statusError(Code.RESOURCE_EXHAUSTED, "no address left in 10.0.0.0/31 — \ud800");
      }),
    ),
  ]);
  const client = dialer.connections(url);
  await assert.rejects(client.request(request, call()), {
    code: Code.RESOURCE_EXHAUSTED,
    details: "no address left in 10.0.0.0/31 — \ufffd",
  });
  const bug = NetworkServiceRequest.fromPartial({ connection: { id: "bug" } });
  await assert.rejects(client.request(bug, call()), (error: Error) => {
    assert.equal((error as Error & { code: number }).code, Code.INTERNAL);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});

test("a caller that goes away aborts the call at the server", async (t) => {
  const started = deferred<AbortSignal>();
  const { url, dialer } = await start(t, "unix", [
    connectionService(
      handler(async (_input, { signal }) => {
        started.resolve(signal);
        await aborted(signal);
        throw signal.reason;
      }),
    ),
  ]);
  const caller = new AbortController();
  const answer = dialer.connections(url).request(request, { signal: caller.signal });
  const signal = await started.promise;
  caller.abort();
  await assert.rejects(answer, { code: Code.CANCELLED });
  await aborted(signal);
  assert.equal(signal.reason.name, "AbortError");
});

test("a deadline ends the call on both sides with DEADLINE_EXCEEDED", async (t) => {
  const reason = deferred<Error>();
  const { url, dialer } = await start(t, "unix", [
    connectionService(
      handler(async (_input, { signal }) => {
        await aborted(signal);
        reason.resolve(signal.reason);
        throw signal.reason;
      }),
    ),
  ]);
  const answer = dialer.connections(url).request(request, { ...call(), deadlineMs: Date.now() + 100 });
  await assert.rejects(answer, { code: Code.DEADLINE_EXCEEDED });
  await reason.promise;
});

test("shutdown: streams end with UNAVAILABLE, calls get their time, then UNAVAILABLE; nothing stays open", async (t) => {
  const started = deferred<void>();
  const { url, dialer, listener } = await start(t, "unix", [
    connectionService(
      handler(async (_input, { signal }) => {
        started.resolve();
        await aborted(signal);
        throw signal.reason;
      }),
    ),
    monitorService({
      async *subscribe(_selector, signal) {
        yield { type: 0, connections: {} };
        await aborted(signal);
      },
    }),
  ]);
  const events = dialer.monitor(url, { path_segments: [], network_services: [] }, call().signal)[Symbol.asyncIterator]();
  await events.next();
  const answer = dialer.connections(url).request(request, call());
  const outcome = assert.rejects(answer, { code: Code.UNAVAILABLE });
  await started.promise;
  const drained = listener.drain(50);
  await assert.rejects(events.next(), { code: Code.UNAVAILABLE });
  await outcome;
  await drained;
  await assert.rejects(dialer.connections(url).request(request, call()), { code: Code.UNAVAILABLE });
});

test("health answers for the whole, for bound services and refuses unknown names", async (t) => {
  const health = createHealth();
  health.set("", true);
  const { url, dialer } = await start(t, "tcp", [
    healthService(health),
    connectionService(handler(async () => Connection.fromPartial({}))),
  ]);
  assert.equal(await dialer.health(url, "", call().signal), ServingStatus.SERVING);
  assert.equal(await dialer.health(url, "networkservice.NetworkService", call().signal), ServingStatus.SERVING);
  await assert.rejects(dialer.health(url, "nonsense", call().signal), { code: Code.NOT_FOUND });
});

test("a second process on a living socket is refused; a stale socket file is replaced; another file is not touched", async (t) => {
  const { url, path } = await start(t, "unix", []);
  await assert.rejects(listen({ urls: [url], services: [], log: silentLog, signal: call().signal }), {
    code: Code.ALREADY_EXISTS,
    message: /another process listens on unix:.*stop it or choose/,
  });
  const file = `${path}.txt`;
  writeFileSync(file, "precious");
  await assert.rejects(listen({ urls: [`unix://${file}`], services: [], log: silentLog, signal: call().signal }), {
    code: Code.ALREADY_EXISTS,
    message: /is no socket/,
  });
});

test("a dead target fails at once and is dialled anew when it is back", async (t) => {
  const { url, dialer, listener, path } = await start(t, "unix", [
    connectionService(handler(async () => Connection.fromPartial({}))),
  ]);
  await dialer.connections(url).request(request, call());
  await listener.drain(0);
  await assert.rejects(dialer.connections(url).request(request, call()), { code: Code.UNAVAILABLE, message: new RegExp(path) });
  const again = await listen({
    urls: [url],
    services: [connectionService(handler(async () => Connection.fromPartial({ id: "again" })))],
    log: silentLog,
    signal: call().signal,
  });
  t.after(() => again.drain(0));
  assert.equal((await dialer.connections(url).request(request, call())).id, "again");
});

function handler(request: Handler<ConnectionApi>["request"]): Handler<ConnectionApi> {
  return { request, close: async () => {} };
}

function call(): { signal: AbortSignal } {
  return { signal: new AbortController().signal };
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

async function start(
  t: TestContext,
  kind: "unix" | "tcp",
  services: ServiceBinding[],
): Promise<{ url: string; path: string; dialer: Dialer; listener: Listener }> {
  const folder = mkdtempSync(join(tmpdir(), "weft-transport-"));
  const path = join(folder, "x.sock");
  const listener = await listen({
    urls: [kind === "unix" ? `unix://${path}` : "tcp://127.0.0.1:0"],
    services,
    log: silentLog,
    signal: call().signal,
  });
  const dialer = createDialer({ dialTimeoutMs: 2000 });
  t.after(async () => {
    dialer.close();
    await listener.drain(0);
    rmSync(folder, { recursive: true });
  });
  return { url: listener.urls[0] ?? "", path, dialer, listener };
}
