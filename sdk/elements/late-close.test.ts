import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, statusError } from "../status.js";
import { silentLog } from "../telemetry/log.js";
import { enterPath } from "./enter-path.js";
import { serialize } from "./serialize.js";

test("row 11.4: a close of what is gone, heard late, does not hit what its caller has asked for since", async () => {
  const kept = serialize({ log: silentLog });
  const hop = chain<ConnectionApi>("hop", ["request", "close"])
    .use(enterPath("hop"))
    .use(kept)
    .end({ request: async ({ connection }) => connection ?? Connection.fromPartial({}), close: async () => {} });
  const call = backgroundCall(new AbortController().signal);
  const ask = NetworkServiceRequest.fromPartial({
    connection: { id: "c1", path: { index: 0, path_segments: [{ name: "caller", id: "c1" }] } },
  });
  const ids = (): string[] => [...kept.connections()].map(({ id }) => id);
  const old = await hop.request(ask, call);
  const [oldId] = ids();
  await hop.close(old, call);
  await hop.request(ask, call);
  const [newId] = ids();
  assert.ok(newId !== undefined && newId !== oldId);
  await hop.close(old, call);
  assert.deepEqual(ids(), [newId], "the caller has named the old one");
  await hop.close(Connection.fromPartial(ask.connection ?? {}), call);
  assert.deepEqual(ids(), [], "who never had an answer can name none");
});

test("row 11.4: who asks anew without having had an answer, in vain, can still close what he was answered", async () => {
  const kept = serialize({ log: silentLog });
  let refuses = false;
  const hop = chain<ConnectionApi>("hop", ["request", "close"])
    .use(enterPath("hop"))
    .use(kept)
    .end({
      request: async ({ connection }) => {
        if (refuses) throw new Error("nobody is there");
        return connection ?? Connection.fromPartial({});
      },
      close: async () => {},
    });
  const call = backgroundCall(new AbortController().signal);
  const ask = NetworkServiceRequest.fromPartial({
    connection: { id: "c1", path: { index: 0, path_segments: [{ name: "caller", id: "c1" }] } },
  });
  const ids = (): string[] => [...kept.connections()].map(({ id }) => id);
  await hop.request(ask, call);
  const before = ids();
  refuses = true;
  await assert.rejects(hop.request(ask, call), /nobody is there/);
  assert.deepEqual(ids(), before, "it may have packets: a request that fails ends nothing");
  await hop.close(Connection.fromPartial(ask.connection ?? {}), call);
  assert.deepEqual(ids(), []);
  refuses = false;
  await hop.request(ask, call);
  const [first] = ids();
  refuses = true;
  await assert.rejects(hop.request(ask, call), /nobody is there/);
  refuses = false;
  await hop.request(ask, call);
  assert.equal(ids().length, 1, "what the first request made goes when another one succeeds");
  assert.notEqual(ids()[0], first);
});

test("row 8.3: who claims another's name and id reaches nothing of his by it", async () => {
  const ownerOf = ({ path }: Connection): string => path?.path_segments[0]?.token ?? "";
  const kept = serialize({ log: silentLog, ownership: { ownerOf, demand: () => {} } });
  const hop = chain<ConnectionApi>("hop", ["request", "close"])
    .use(enterPath("hop"))
    .use(kept)
    .end({ request: async ({ connection }) => connection ?? Connection.fromPartial({}), close: async () => {} });
  const call = backgroundCall(new AbortController().signal);
  const askAs = (token: string): Connection =>
    Connection.fromPartial({ id: "c1", path: { index: 0, path_segments: [{ name: "caller", id: "c1", token }] } });
  const owners = (): string[] => [...kept.connections()].map(ownerOf);
  await hop.request(NetworkServiceRequest.fromPartial({ connection: askAs("alice") }), call);
  await hop.request(NetworkServiceRequest.fromPartial({ connection: askAs("mallory") }), call);
  assert.deepEqual(owners(), ["alice", "mallory"]);
  await hop.close(askAs("mallory"), call);
  assert.deepEqual(owners(), ["alice"]);
  await hop.close(askAs("alice"), call);
  assert.deepEqual(owners(), []);
});

test("row 11.1: a connection of a former run goes when its caller asks anew and does not know of it", async () => {
  const hop = start();
  hop.kept.restore(
    Connection.fromPartial({ id: "former", path: { index: 1, path_segments: [caller, { name: "hop", id: "former" }] } }),
  );
  await hop.handler.request(ask, hop.call);
  await hop.idle();
  assert.deepEqual(hop.closed, ["former"]);
  assert.equal(hop.ids().length, 1);
});

test("row 11.1: a close of what may still become known waits until it is, and is refused when that takes too long", async () => {
  const hop = start();
  const closing = hop.handler.close(Connection.fromPartial(ask.connection ?? {}), hop.call);
  await hop.idle();
  hop.kept.restore(
    Connection.fromPartial({ id: "former", path: { index: 1, path_segments: [caller, { name: "hop", id: "former" }] } }),
  );
  hop.learned();
  await closing;
  assert.deepEqual([hop.closed, hop.ids()], [["former"], []]);
  const other = start();
  const refused = other.handler.close(Connection.fromPartial(ask.connection ?? {}), other.call);
  other.learned(statusError(Code.UNAVAILABLE, "close again"));
  await assert.rejects(refused, { code: Code.UNAVAILABLE });
});

const caller = { name: "caller", id: "c1" };
const ask = NetworkServiceRequest.fromPartial({ connection: { id: "c1", path: { index: 0, path_segments: [caller] } } });

/** A hop that has just started and hears by and by what it had. */
function start() {
  let learned = (_error?: Error): void => {};
  const known = new Promise<void>((resolve, reject) => {
    learned = (error) => (error === undefined ? resolve() : reject(error));
  });
  const closed: string[] = [];
  const call = backgroundCall(new AbortController().signal);
  const kept = serialize({
    log: silentLog,
    closeRestored: (connection) => handler.close(connection, call),
    knowsAll: () => known,
  });
  const handler = chain<ConnectionApi>("hop", ["request", "close"])
    .use(enterPath("hop"))
    .use(kept)
    .end({
      request: async ({ connection }) => connection ?? Connection.fromPartial({}),
      close: async ({ id }) => void closed.push(id),
    });
  const ids = (): string[] => [...kept.connections()].map(({ id }) => id);
  const idle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { kept, handler, call, closed, ids, idle, learned: (error?: Error) => learned(error) };
}
