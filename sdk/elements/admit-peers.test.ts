import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain, type Element } from "../chain.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import type { Peer } from "../peer.js";
import { createAdmission } from "../policies/admission.js";
import { Code } from "../status.js";
import { admitPeers } from "./admit-peers.js";
import type { HasConnection } from "./serialize.js";

const process1: Peer = { kind: "unix", pid: 1, uid: 0, gid: 0 };
const process2: Peer = { kind: "unix", pid: 2, uid: 0, gid: 0 };
const hidden: Peer = { kind: "unix", pid: 0, uid: 5, gid: 5 };
const far = (port: number): Peer => ({ kind: "tcp", address: `10.0.0.1:${port}` });

test("a caller has so many requests under way; further ones wait, beyond that they are refused, and others pass", async () => {
  const { ask, answer, underWay } = start();
  const storm = Array.from({ length: 5 }, () => ask(process1, "a"));
  const refused = await Promise.allSettled(storm.slice(4));
  assert.equal(refused[0]?.status === "rejected" && refused[0].reason.code, Code.RESOURCE_EXHAUSTED);
  assert.deepEqual(underWay(), ["a", "a"]);
  const other = ask(process2, "b");
  await Promise.resolve();
  assert.deepEqual(underWay(), ["a", "a", "b"]);
  answer();
  await Promise.all([other, ...storm.slice(0, 4)]);
});

const pairs: { why: string; one: [Peer, string]; two: [Peer, string]; same: boolean }[] = [
  { why: "one process under two names", one: [process1, "a"], two: [process1, "b"], same: true },
  { why: "two processes", one: [process1, "a"], two: [process2, "a"], same: false },
  { why: "processes that the kernel does not show, by their names", one: [hidden, "a"], two: [hidden, "b"], same: false },
  { why: "one that the kernel does not show", one: [hidden, "a"], two: [hidden, "a"], same: true },
  { why: "two connections of another node with the same client behind", one: [far(1), "a"], two: [far(2), "a"], same: true },
  { why: "two clients behind another node", one: [far(1), "a"], two: [far(1), "b"], same: false },
];
for (const { why, one, two, same } of pairs) {
  test(`${why}: ${same ? "one caller" : "two callers"}`, async () => {
    const { ask, answer, underWay } = start();
    const all = [ask(...one), ask(...one), ask(...two)];
    await Promise.resolve();
    assert.equal(underWay().length, same ? 2 : 3);
    answer();
    await Promise.all(all);
  });
}

/** Two under way and two waiting for each caller; requests are answered when the test says so. */
function start() {
  const limits = { ratePerS: 0, burst: 1, perTenant: 2, total: 100, quota: 0, waiting: 2 };
  const underWay: string[] = [];
  let answer = (): void => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const events = { close() {}, changed() {} };
  const first: Element<ConnectionApi, object, HasConnection> = {
    name: "serialize",
    steps: {
      request: (request, _context, rest) => rest.request(request, { previous: undefined, events }),
      close: (connection, _context, rest) => rest.close(connection, { previous: undefined, events }),
    },
  };
  const handler = chain<ConnectionApi>("test", ["request", "close"])
    .use(first)
    .use(admitPeers(createAdmission(limits, () => 0)))
    .end({
      async request({ connection = Connection.fromPartial({}) }) {
        underWay.push(connection.path?.path_segments[0]?.name ?? "");
        await answered;
        return connection;
      },
      close: async () => {},
    });
  let id = 0;
  const ask = (peer: Peer, name: string): Promise<Connection> => {
    const path = { index: 0, path_segments: [{ name, id: String(id) }] };
    const request = NetworkServiceRequest.fromPartial({ connection: { id: String(id++), path } });
    return handler.request(request, { ...backgroundCall(new AbortController().signal), peer });
  };
  return { ask, answer: () => answer(), underWay: () => underWay };
}
