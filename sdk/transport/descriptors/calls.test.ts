import assert from "node:assert/strict";
import { once } from "node:events";
import { statSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { backgroundCall, type CallContext } from "../../chain.js";
import { Connection, type Mechanism } from "../../gen/connection.js";
import { NetworkServiceRequest } from "../../gen/networkservice.js";
import { NetworkServiceEndpoint } from "../../gen/registry.js";
import { inodeUrl } from "../../linux/netns-url.js";
import { silentLog } from "../../telemetry/log.js";
import { createDialer, type Dialer } from "../dial.js";
import type { ServiceBinding } from "../edge.js";
import { listen } from "../listen.js";
import { connectionService, endpointRegistryService } from "../services.js";
import { takeAnswered } from "./client-calls.js";
import { forgetSockets } from "./kept-sockets.js";
import { allClosed, inFolder, openDescriptors } from "./testing.js";

const ownNetns = "/proc/self/ns/net";
const own = inodeUrl(statSync(ownNetns, { bigint: true }));
const call = (): { signal: AbortSignal; deadlineMs: number } => ({
  signal: AbortSignal.timeout(10_000),
  deadlineMs: Date.now() + 10_000,
});

/** A server and a client that pass descriptors; afterwards nothing may be left open. */
async function joined(
  services: ServiceBinding[],
  run: (dialer: Dialer, url: string, folder: string) => Promise<void>,
  clientPasses: "always" | "never" = "always",
): Promise<void> {
  const before = openDescriptors();
  await inFolder(async (folder) => {
    const { signal } = new AbortController();
    const url = `unix://${join(folder, "s.sock")}`;
    const listener = await listen({ urls: [url], services, log: silentLog, signal, passDescriptors: "always" });
    const dialer = createDialer({ dialTimeoutMs: 2_000, passDescriptors: clientPasses });
    try {
      await run(dialer, url, folder);
    } finally {
      dialer.close();
      await listener.drain(100);
      forgetSockets();
    }
  });
  await allClosed(before);
}

function kernel(url: string): Mechanism {
  return { cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: url } };
}

function requestOf(url: string, id = "c1"): NetworkServiceRequest {
  const path = { index: 0, path_segments: [{ name: "client", id }] };
  return NetworkServiceRequest.fromPartial({ connection: { id, path }, mechanism_preferences: [kernel(url)] });
}

const urlOf = (connection: Connection): string | undefined => connection.mechanism?.parameters["inodeURL"];

/** Answers with the mechanism it is asked for, and shows what it was asked. */
function echo(seen: string[]) {
  return connectionService({
    async request({ connection, mechanism_preferences }) {
      const [mechanism] = mechanism_preferences;
      seen.push(mechanism?.parameters["inodeURL"] ?? "");
      return Connection.fromPartial({ ...connection, mechanism });
    },
    async close(connection) {
      seen.push(urlOf(connection) ?? "");
    },
  });
}

test("a namespace goes to the server as a descriptor, has one path there until Close, and its own name in the answer", async () => {
  const seen: string[] = [];
  await joined([echo(seen)], async (dialer, url) => {
    const client = dialer.connections(url);
    await client.close(requestOf("").connection ?? Connection.fromPartial({}), call());
    seen.length = 0;
    const before = openDescriptors();
    const first = await client.request(requestOf(`file://${ownNetns}`), call());
    const again = await client.request(requestOf(own), call());
    assert.deepEqual([urlOf(first), urlOf(again)], [`file://${ownNetns}`, own]);
    assert.match(seen[0] ?? "", new RegExp(`^file:///proc/${process.pid}/fd/\\d+$`));
    assert.equal(seen[1], seen[0]);
    assert.equal(inodeUrl(statSync((seen[0] ?? "").slice(7), { bigint: true })), own);
    await client.close({ ...again, mechanism: kernel(own) }, call());
    assert.equal(seen[2], seen[0]);
    // what is left is the copy that lives as long as the connection
    await allClosed(before + 1);
  });
});

test("a request that fails leaves nothing open at the server", async () => {
  const failing = connectionService({
    request: () => Promise.reject(new Error("no")),
    close: async () => {},
  });
  await joined([failing], async (dialer, url) => {
    const client = dialer.connections(url);
    await assert.rejects(client.request(requestOf(own), call()));
    const before = openDescriptors();
    for (let round = 0; round < 20; round++) await assert.rejects(client.request(requestOf(own, `c${round}`), call()));
    await allClosed(before);
  });
});

test("who names a namespace and never sends it waits until its deadline; the next call is served", async () => {
  const seen: string[] = [];
  await joined([echo(seen)], async (dialer, url) => {
    const client = dialer.connections(url);
    const late = client.request(requestOf("inode://4/1"), { ...call(), deadlineMs: Date.now() + 150 });
    await assert.rejects(late, { code: 4 });
    const answer = await client.request(requestOf(own), call());
    assert.equal(seen.length, 1);
    await client.close(answer, call());
  });
});

test("a client that passes nothing is served as before, names unchanged", async () => {
  const seen: string[] = [];
  await joined(
    [echo(seen)],
    async (dialer, url) => {
      const answer = await dialer.connections(url).request(requestOf(own), call());
      assert.deepEqual([seen[0], urlOf(answer)], [own, own]);
    },
    "never",
  );
});

test("a namespace of the server's in its answer comes as a descriptor", async () => {
  const endpoint = connectionService({
    request: async ({ connection }) => Connection.fromPartial({ ...connection, mechanism: kernel(own) }),
    close: async () => {},
  });
  await joined([endpoint], async (dialer, url) => {
    const answer = await dialer.connections(url).request(requestOf("file:///nowhere"), call());
    assert.equal(urlOf(answer), own);
    const file = takeAnswered(answer.mechanism);
    assert.ok(file !== undefined);
    assert.equal(inodeUrl(statSync(file.path, { bigint: true })), own);
    file.close();
    assert.equal(takeAnswered(kernel(own)), undefined);
  });
});

async function dialable(t: TestContext, url: string): Promise<void> {
  const socket = connect({ path: url.slice("unix://".length) });
  await once(socket, "connect", { signal: t.signal });
  socket.destroy();
}

test("an endpoint registers with its socket as a descriptor, and a Find gives it on as one", async (t) => {
  const stored = new Map<string, NetworkServiceEndpoint>();
  const registry = endpointRegistryService(
    {
      async register(endpoint: NetworkServiceEndpoint, _context: CallContext) {
        stored.set(endpoint.name, endpoint);
        return endpoint;
      },
      async unregister(endpoint) {
        stored.delete(endpoint.name);
      },
    },
    async function* () {
      for (const entry of stored.values()) yield { entry, deleted: false };
    },
  );
  await joined([registry], async (dialer, url, folder) => {
    const path = join(folder, "endpoint.sock");
    const endpoint = createServer((socket) => socket.destroy()).listen(path);
    await once(endpoint, "listening");
    const client = dialer.endpointRegistry(url);
    const entry = NetworkServiceEndpoint.fromPartial({ name: "e1", url: `unix://${path}` });
    const first = await client.register(entry, call());
    assert.equal(first.url, entry.url);
    const here = stored.get("e1")?.url ?? "";
    assert.match(here, new RegExp(`^unix:///proc/${process.pid}/fd/\\d+$`));
    await dialable(t, here);
    await client.register(entry, call());
    assert.equal(stored.get("e1")?.url, here);
    const found: string[] = [];
    for await (const one of client.find(NetworkServiceEndpoint.fromPartial({}), { ...call(), watch: false })) {
      found.push(one.entry.url);
    }
    await dialable(t, found[0] ?? "");
    await client.unregister(entry, call());
    assert.equal(stored.size, 0);
    await new Promise((resolve) => endpoint.close(resolve));
  });
});

test("a chain called from inside gets no descriptors", () => {
  assert.equal(backgroundCall(new AbortController().signal).peer.kind, "self");
});
