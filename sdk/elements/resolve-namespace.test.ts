import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain, type Element } from "../chain.js";
import { Connection, type Mechanism } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import type { Peer } from "../peer.js";
import { Code } from "../status.js";
import { answeredNamespaces, resolveNamespace } from "./resolve-namespace.js";

const own = statSync("/proc/self/ns/net", { bigint: true });
const ownUrl = `inode://${own.dev}/${own.ino}`;
const find = (dev: bigint, ino: bigint): string | undefined => (dev === 4n && ino === 7n ? "/proc/77/ns/net" : undefined);

test("the next hop gets a path, the caller its own url back, and close the path again", async () => {
  const hop = start(resolveNamespace({ find }));
  const answer = await hop.request(kernel("inode://4/7"));
  assert.equal(hop.seen[0], "file:///proc/77/ns/net");
  assert.equal(urlOf(answer), "inode://4/7");
  await hop.close(answer);
  assert.equal(hop.seen[1], "file:///proc/77/ns/net");
});

test("the caller's own process is found by its pid", async () => {
  const hop = start(resolveNamespace(), unixPeer(0));
  assert.equal(urlOf(await hop.request(kernel(ownUrl))), ownUrl);
  assert.match(hop.seen[0] ?? "", /^file:\/\/\/(proc\/\d+\/ns\/net|run\/netns\/.*)$/);
});

test("what an endpoint answers with is turned into a path, and back for the endpoint on refresh and close", async () => {
  const hop = start(answeredNamespaces({ find }).resolve);
  hop.answer = kernel("inode://4/7");
  const answer = await hop.request(kernel(""));
  assert.equal(urlOf(answer), "file:///proc/77/ns/net");
  await hop.request(answer.mechanism);
  await hop.close(answer);
  assert.deepEqual(hop.seen, ["", "inode://4/7", "inode://4/7"]);
});

test("a namespace that has gone is NOT_FOUND with the remedy, a malformed url INVALID_ARGUMENT", async () => {
  const hop = start(resolveNamespace({ find }));
  await assert.rejects(hop.request(kernel("inode://4/8")), { code: Code.NOT_FOUND, message: /hostPID/ });
  await assert.rejects(hop.request(kernel("inode://../../etc")), { code: Code.INVALID_ARGUMENT });
  await assert.rejects(hop.request(kernel("file:///proc/../etc/passwd")), { code: Code.INVALID_ARGUMENT });
});

test("an ordinary user names no namespace but that of its own process", async () => {
  const hop = start(resolveNamespace({ find }), unixPeer(1000));
  await assert.rejects(hop.request(kernel("inode://4/7")), { code: Code.PERMISSION_DENIED });
  const allowed = start(resolveNamespace(), unixPeer(1000));
  assert.equal(urlOf(await allowed.request(kernel(ownUrl))), ownUrl);
});

test("who is out of our sight must send the descriptor, be it root", async () => {
  const none = { take: () => undefined, wait: () => Promise.reject(new Error("none")), send: () => ({ dev: 0n, ino: 0n }) };
  const away: Peer = { kind: "unix", pid: 0, uid: 0, gid: 0, descriptors: none };
  const hop = start(resolveNamespace({ find }), away);
  for (const url of ["inode://4/7", "file:///proc/1/ns/net", `file:///proc/${process.pid}/fd/1`]) {
    await assert.rejects(hop.request(kernel(url)), { code: Code.PERMISSION_DENIED, message: /without its descriptor/ });
  }
});

test("preferences are translated as well, and other mechanisms left alone", async () => {
  const hop = start(resolveNamespace({ find }));
  await hop.handler.request(
    NetworkServiceRequest.fromPartial({
      connection: { id: "c1" },
      mechanism_preferences: [kernel("inode://4/7"), { cls: "REMOTE", type: "VXLAN", parameters: { vni: "1" } }],
    }),
    hop.call,
  );
  assert.deepEqual(hop.preferences, ["file:///proc/77/ns/net", ""]);
});

function unixPeer(uid: number): Peer {
  return { kind: "unix", pid: process.pid, uid, gid: uid };
}

function kernel(inodeURL: string): Mechanism {
  return { cls: "LOCAL", type: "KERNEL", parameters: inodeURL === "" ? {} : { inodeURL } };
}

function urlOf({ mechanism }: { mechanism?: Mechanism | undefined }): string {
  return mechanism?.parameters["inodeURL"] ?? "";
}

function start(element: Element<ConnectionApi>, peer: Peer = { kind: "self" }) {
  const hop = {
    seen: [] as string[],
    preferences: [] as string[],
    answer: undefined as Mechanism | undefined,
    call: { ...backgroundCall(new AbortController().signal), peer },
    request: (mechanism: Mechanism | undefined) =>
      handler.request(NetworkServiceRequest.fromPartial({ connection: { id: "c1", mechanism } }), hop.call),
    close: (connection: Connection) => handler.close(connection, hop.call),
    get handler() {
      return handler;
    },
  };
  const handler = chain<ConnectionApi>("hop", ["request", "close"])
    .use(element)
    .end({
      async request({ connection, mechanism_preferences }) {
        hop.seen.push(urlOf(connection ?? {}));
        hop.preferences = mechanism_preferences.map((mechanism) => urlOf({ mechanism }));
        return { ...Connection.fromPartial({}), ...connection, mechanism: hop.answer ?? connection?.mechanism };
      },
      close: async (connection) => void hop.seen.push(urlOf(connection)),
    });
  return hop;
}
