import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, type CallContext, chain } from "../chain.js";
import { systemClock } from "../clock.js";
import { authorize } from "../elements/authorize.js";
import { enterPath } from "../elements/enter-path.js";
import { exchangeTokens } from "../elements/exchange-tokens.js";
import { type HasConnection, serialize } from "../elements/serialize.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, statusError } from "../status.js";
import { createLog } from "../telemetry/log.js";
import { createPolicies } from "./policies.js";
import { defaultMasks } from "./settings.js";
import { type Party, party } from "./testing/party.js";

const alice = party("spiffe://weft.test/alice");
const mallory = party("spiffe://weft.test/mallory");
const manager = party("spiffe://weft.test/manager");
const forwarder = party("spiffe://weft.test/forwarder");

test("row 8.2: a request with the caller's own token passes, and the hop adds a token for the caller", async () => {
  const hop = await start();
  const answer = await hop.request(ask("c1"), hop.from(alice));
  const [first, second] = answer.path?.path_segments ?? [];
  assert.equal(first?.token, alice.tokenFor(manager), "the token of the call is in the caller's segment");
  assert.notEqual(second?.token, "");
  assert.deepEqual(hop.audit, []);
});

const badTokens: { why: string; token: string; reason: RegExp }[] = [
  { why: "absent", token: "", reason: /one has no token/ },
  { why: "for somebody else", token: alice.tokenFor(forwarder), reason: /do not chain/ },
  { why: "of somebody else", token: mallory.tokenFor(manager), reason: /not signed by the peer's key/ },
  { why: "expired", token: alice.tokenFor(manager, -1000), reason: /expired/ },
  {
    why: "from the future",
    token: alice.signed(manager, { nbf: Date.now() / 1000 + 3600 }),
    reason: /not valid before/,
  },
  {
    why: "of the peer's own key in another's name",
    token: alice.signed(manager, { sub: mallory.spiffeId }),
    reason: /in the name of/,
  },
  { why: "alg none", token: alice.tokenOf({ alg: "none" }, manager, ""), reason: /not signed/ },
  { why: "HS256 signed with the public key", token: alice.hs256For(manager), reason: /not signed/ },
];
for (const { why, token, reason } of badTokens) {
  test(`row 8.2: a request whose token is ${why} is refused before anything is done`, async () => {
    const hop = await start();
    await assert.rejects(hop.request(ask("c1"), hop.from(alice, token)), {
      code: Code.PERMISSION_DENIED,
      details: "no sufficient privileges",
    });
    assert.deepEqual(hop.done, []);
    assert.equal(hop.audit.length, 1, "one line of audit");
    assert.match(hop.audit[0] ?? "", reason);
    assert.doesNotMatch(hop.audit[0] ?? "", /eyJ/, "no token in the log");
  });
}

test("row 8.2: a path whose earlier hops do not chain is refused: nobody can enter another's name before their own", async () => {
  const hop = await start();
  const stolen = ask("m1", [
    { name: "alice", id: "c1", token: alice.tokenFor(manager) },
    { name: "mallory", id: "m1", token: "" },
  ]);
  await assert.rejects(hop.request(stolen, hop.from(mallory)), { code: Code.PERMISSION_DENIED });
  assert.match(hop.audit[0] ?? "", /do not chain/);
});

test("row 8.2 (upstream flaw: index 0 of a TLS peer is out of range): a request without a path is refused, not a crash", async () => {
  const hop = await start();
  const bare = NetworkServiceRequest.fromPartial({ connection: { id: "x", network_service: "s" } });
  await assert.rejects(hop.request(bare, hop.from(alice)), { code: Code.PERMISSION_DENIED });
  await assert.rejects(hop.close(Connection.fromPartial({ id: "x" }), hop.from(alice)), { code: Code.PERMISSION_DENIED });
  assert.match(hop.audit.join("\n"), /the caller has not entered itself/);
});

test("row 8.2: a connection lives no longer than the token itself says, whatever the header beside it says", async () => {
  const hop = await start();
  const call = hop.from(alice, alice.tokenFor(manager, 5_000));
  const answer = await hop.request(ask("c1"), call);
  const expires = answer.path?.path_segments[0]?.expires;
  assert.ok(expires !== undefined && Number(expires.seconds) <= Date.now() / 1000 + 5);
});

test("row 8.2: a peer without certificate is refused", async () => {
  const hop = await start();
  const context = { ...hop.from(alice), peer: { kind: "tcp" as const, address: "192.0.2.1:1" } };
  await assert.rejects(hop.request(ask("c1"), context), { code: Code.PERMISSION_DENIED });
});

test("a stolen connection id: another identity can neither change nor end a connection, nor spoil it by trying", async () => {
  const hop = await start();
  const answer = await hop.request(ask("c1"), hop.from(alice));
  const own = answer.path?.path_segments[1]?.id ?? "";
  const theft = ask("c1", [
    { name: "client", id: "c1", token: "" },
    { name: "manager", id: own, token: "" },
  ]);
  await assert.rejects(hop.request(theft, hop.from(mallory)), { code: Code.PERMISSION_DENIED });
  await assert.rejects(hop.close(theft.connection as Connection, hop.from(mallory)), { code: Code.PERMISSION_DENIED });
  assert.deepEqual(hop.done, [`request ${own}`], "nothing was done for the thief");
  assert.match(
    hop.audit.join("\n"),
    /it belongs to \\"spiffe:\/\/weft.test\/alice\\", not to \\"spiffe:\/\/weft.test\/mallory\\"/,
  );
  // the owner goes on as if nothing had been
  await hop.request(NetworkServiceRequest.fromPartial({ connection: answer }), hop.from(alice));
  await hop.close(answer, hop.from(alice));
  assert.deepEqual(hop.done, [`request ${own}`, `request ${own}`, `close ${own}`]);
});

test("a thief who is faster than the first request's answer does not get it either", async () => {
  const hop = await start();
  const shared = [
    { name: "client", id: "c1", token: "" },
    { name: "manager", id: "m1", token: "" },
  ];
  const held = hop.hold();
  const first = hop.request(ask("c1", shared), hop.from(alice));
  await held.reached;
  await assert.rejects(hop.request(ask("c1", shared), hop.from(mallory)), { code: Code.PERMISSION_DENIED });
  held.release();
  await first;
});

test("ownership is released by close and by expiry: the id is free for another identity then", async () => {
  const hop = await start();
  const path = [
    { name: "client", id: "c1", token: "" },
    { name: "manager", id: "m1", token: "" },
  ];
  const connection = await hop.request(ask("c1", path), hop.from(alice));
  await hop.close(connection, hop.from(alice));
  await hop.request(ask("c1", path), hop.from(mallory));
  const closed = hop.closed();
  hop.events()?.close("expired"); // what `expire` does
  await closed;
  await hop.request(ask("c1", path), hop.from(alice));
});

test("upstream flaw: a request that fails takes nothing from the identity's other connections", async () => {
  const hop = await start();
  const good = await hop.request(ask("c1"), hop.from(alice));
  hop.fail = statusError(Code.UNAVAILABLE, "next hop away");
  await assert.rejects(hop.request(ask("c2"), hop.from(alice)), { code: Code.UNAVAILABLE });
  hop.fail = undefined;
  const own = good.path?.path_segments[1]?.id ?? "";
  const theft = ask("c1", [
    { name: "client", id: "c1", token: "" },
    { name: "manager", id: own, token: "" },
  ]);
  await assert.rejects(hop.close(theft.connection as Connection, hop.from(mallory)), { code: Code.PERMISSION_DENIED });
  await hop.close(good, hop.from(alice));
});

test("ownership survives a restart: it is in the restored connection", async () => {
  const before = await start();
  const answer = await before.request(ask("c1"), before.from(alice));
  const stored = [...before.serialize.connections()];
  const after = await start(stored);
  const own = answer.path?.path_segments[1]?.id ?? "";
  const theft = ask("c1", [
    { name: "client", id: "c1", token: "" },
    { name: "manager", id: own, token: "" },
  ]);
  await assert.rejects(after.request(theft, after.from(mallory)), { code: Code.PERMISSION_DENIED });
  await after.request(NetworkServiceRequest.fromPartial({ connection: answer }), after.from(alice));
});

test("upstream flaw: an expired token never keeps the owner from closing, and never lets another close", async () => {
  const hop = await start();
  const answer = await hop.request(ask("c1"), hop.from(alice));
  await assert.rejects(hop.close(answer, hop.from(mallory, mallory.tokenFor(manager, -1000))), { code: Code.PERMISSION_DENIED });
  await hop.close(answer, hop.from(alice, alice.tokenFor(manager, -60_000)));
  assert.equal([...hop.serialize.connections()].length, 0);
});

test("close passes the tokens on that the caller has shown now, not those of the last request", async () => {
  const hop = await start();
  const answer = await hop.request(ask("c1"), hop.from(alice));
  const fresh = alice.tokenFor(manager, 120_000);
  await hop.close(answer, hop.from(alice, fresh));
  assert.equal(hop.lastClosed()?.path?.path_segments[0]?.token, fresh);
});

test("work from inside is not asked, and without policies nobody is", async () => {
  const hop = await start();
  await hop.request(ask("c1"), backgroundCall(new AbortController().signal));
  const open = await start([], false);
  const answer = await open.request(ask("c1"), open.from(alice, ""));
  await open.close(answer, open.from(mallory, ""));
  assert.equal([...open.serialize.connections()].length, 0);
});

function ask(id: string, path = [{ name: "client", id, token: "" }]): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({
    connection: {
      id,
      network_service: "s",
      path: {
        index: Math.max(
          0,
          path.findIndex((segment) => segment.id === id),
        ),
        path_segments: path,
      },
    },
  });
}

/** The manager as one hop, with the policies of upstream. */
async function start(restored: readonly Connection[] = [], withPolicies = true) {
  const audit: string[] = [];
  const done: string[] = [];
  const log = createLog({ name: "manager", level: "warn", destination: { write: (line) => audit.push(line) } });
  const policies = withPolicies ? await createPolicies({ masks: defaultMasks, log }) : undefined;
  policies?.close();
  const serial = serialize({ log, restored, ownership: policies?.ownership });
  let hold: Promise<void> | undefined;
  let reach = (): void => {};
  let last: { events?: HasConnection["events"]; closed?: Connection; whenClosed: () => void } = { whenClosed() {} };
  const hop = {
    audit,
    done,
    serialize: serial,
    fail: undefined as Error | undefined,
    from: (who: Party, token = who.tokenFor(manager)): CallContext => who.call(token),
    hold() {
      let release = (): void => {};
      hold = new Promise((resolve) => {
        release = resolve;
      });
      const reached = new Promise<void>((resolve) => {
        reach = resolve;
      });
      return { reached, release };
    },
    events: () => last.events,
    lastClosed: () => last.closed,
    closed: () => new Promise<void>((resolve) => Object.assign(last, { whenClosed: resolve })),
  };
  const handler = chain<ConnectionApi>("manager", ["request", "close"])
    .use(enterPath("manager"))
    .use(exchangeTokens({ clock: systemClock, maxTokenLifetimeMs: 600_000, mintToken: manager.mintToken }))
    .use(authorize(policies?.connections))
    .use(serial)
    .end({
      async request(request, { events }) {
        last = { ...last, events };
        reach();
        await hold;
        if (hop.fail !== undefined) throw hop.fail;
        done.push(`request ${request.connection?.id}`);
        return request.connection ?? Connection.fromPartial({});
      },
      async close(connection) {
        done.push(`close ${connection.id}`);
        last.closed = connection;
        last.whenClosed();
      },
    });
  return Object.assign(hop, handler);
}
