// Targets that do not answer: callers learn it fast, and nothing waits for ever.
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code } from "../status.js";
import { startRelay, startTestServer, temporaryFolder } from "../testing/test-server.js";
import { createDialer } from "./dial.js";

const request = NetworkServiceRequest.fromPartial({ connection: { id: "c1" } });
const never = new AbortController().signal;

test("a target that accepts and never speaks fails within the dial timeout", async (t) => {
  const folder = temporaryFolder(t);
  const held: Socket[] = [];
  const server = createServer((socket) => void held.push(socket));
  await new Promise<void>((resolve) => server.listen(join(folder, "mute.sock"), resolve));
  const dialer = createDialer({ dialTimeoutMs: 100 });
  t.after(() => {
    dialer.close();
    for (const socket of held) socket.destroy();
    server.close();
  });
  await assert.rejects(dialer.connections(`unix://${folder}/mute.sock`).request(request, { signal: never }), {
    code: Code.UNAVAILABLE,
    message: /no answer within 100 ms/,
  });
});

test("a server that has stopped answering: its deadline passes once, then calls fail fast and old streams end", async (t) => {
  const folder = temporaryFolder(t);
  const { path, hub } = await startTestServer(t, {
    request: (_request, { signal }) => aborted(signal).then(() => Promise.reject(signal.reason)),
  });
  const relay = await startRelay(t, join(folder, "relay.sock"), path);
  const dialer = createDialer({ dialTimeoutMs: 200 });
  t.after(() => dialer.close());
  const url = `unix://${folder}/relay.sock`;
  const events = dialer.monitor(url, { path_segments: [], network_services: [] }, never)[Symbol.asyncIterator]();
  await events.next();
  relay.freeze();
  const late = dialer.connections(url).request(request, { signal: never, deadlineMs: Date.now() + 200 });
  await assert.rejects(late, { code: Code.DEADLINE_EXCEEDED });
  hub.publish(Connection.fromPartial({ id: "unheard" }));
  await assert.rejects(dialer.connections(url).request(request, { signal: never }), { code: Code.UNAVAILABLE });
  await assert.rejects(events.next(), { code: Code.UNAVAILABLE, message: /the connection is dead/ });
});

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
