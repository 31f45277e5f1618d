import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, type CallContext, chain, type Element } from "../sdk/chain.js";
import { manualClock } from "../sdk/clock.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import { Connection, State } from "../sdk/gen/connection.js";
import type { NetworkServiceRequest } from "../sdk/gen/networkservice.js";
import { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, statusError } from "../sdk/status.js";
import { chooseForwarder, type NextHop } from "./choose-forwarder.js";
import { createLocalEndpoints } from "./local-endpoints.js";

test("row 2.6: a forwarder that cannot do it is followed by the next one", async () => {
  const { ask, tried, failing, explained } = start(["a", "b", "c"]);
  failing.set("a", statusError(Code.FAILED_PRECONDITION, "no mechanism in common"));
  await ask({});
  assert.deepEqual(tried, ["unix:///run/a", "unix:///run/b"]);
  assert.deepEqual(explained, ["a FAILED FAILED_PRECONDITION: no mechanism in common", "b CHOSEN the ones before it failed"]);
});

test("row 2.6: a forwarder that did not answer is tried last for a while", async () => {
  const { ask, tried, failing, clock } = start(["a", "b"]);
  failing.set("a", statusError(Code.DEADLINE_EXCEEDED, "hangs"));
  await ask({});
  await ask({});
  failing.clear();
  clock.advance(10_000);
  await ask({});
  assert.deepEqual(
    tried.map((url) => url.at(-1)),
    ["a", "b", "b", "a"],
  );
});

test("all fail: the text names each with its reason, the code is theirs if they agree", async () => {
  const { ask, failing } = start(["a", "b"]);
  failing.set("a", statusError(Code.RESOURCE_EXHAUSTED, "no address left"));
  failing.set("b", statusError(Code.RESOURCE_EXHAUSTED, "no VNI left"));
  await assert.rejects(ask({}), {
    code: Code.RESOURCE_EXHAUSTED,
    details: "all forwarders have failed: a: RESOURCE_EXHAUSTED no address left; b: RESOURCE_EXHAUSTED no VNI left",
  });
  failing.set("b", statusError(Code.UNAVAILABLE, "refused"));
  await assert.rejects(ask({}), { code: Code.UNAVAILABLE });
});

test("a wrong request is not tried elsewhere", async () => {
  const { ask, failing, tried } = start(["a", "b"]);
  failing.set("a", statusError(Code.INVALID_ARGUMENT, "interface name too long"));
  await assert.rejects(ask({}), { code: Code.INVALID_ARGUMENT, details: "forwarder a: interface name too long" });
  assert.equal(tried.length, 1);
});

test("row 1.28: a refresh goes to the connection's forwarder and to no other", async () => {
  const { ask, tried, failing } = start(["a", "b"]);
  await ask({ forwarder: "b", known: true });
  failing.set("b", statusError(Code.UNAVAILABLE, "restarting"));
  await assert.rejects(ask({ forwarder: "b", known: true }), { code: Code.UNAVAILABLE });
  assert.deepEqual(tried, ["unix:///run/b", "unix:///run/b"]);
});

test("row 7.2: after a restart the forwarder in the path is waited for if it is registered, else any other will do", async () => {
  const { ask, tried, registered } = start(["a", "b"]);
  await ask({ forwarder: "b", known: false });
  registered.add("c");
  await assert.rejects(ask({ forwarder: "c", known: false }), { code: Code.UNAVAILABLE, details: /has not come back/ });
  registered.clear();
  await ask({ forwarder: "c", known: false });
  assert.deepEqual(tried, ["unix:///run/b", "unix:///run/a"]);
});

test("row 7.15: a known connection leaves a vanished forwarder only when it asks to", async () => {
  const { ask, tried } = start(["a"]);
  await assert.rejects(ask({ forwarder: "gone", known: true }), { code: Code.FAILED_PRECONDITION });
  await ask({ forwarder: "gone", known: true, state: State.RESELECT_REQUESTED });
  assert.deepEqual(tried, ["unix:///run/a"]);
});

test("row 2.5: without a forwarder that has the labels, the text names them and who is there", async () => {
  const { ask } = start(["a"], { matches: [{ metadata: { labels: { sriov: "yes" } } }] });
  await assert.rejects(ask({}), { code: Code.UNAVAILABLE, details: /\{sriov=yes\}; registered here: a;/ });
});

test("each candidate gets its share of the time", async () => {
  const { ask, deadlines } = start(["a", "b"]);
  const deadlineMs = Date.now() + 60_000;
  await ask({ deadlineMs });
  assert.ok(deadlines[0] !== undefined && deadlines[0] < deadlineMs - 25_000);
  const alone = start(["a"]);
  await alone.ask({ deadlineMs });
  assert.equal(alone.deadlines[0], deadlineMs);
});

test("row 1.30: Close finds the forwarder by the path; one that is away is told when it is back, so who closes has to ask again", async () => {
  const { close, closed } = start(["a"]);
  await close({ forwarder: "a", known: true });
  await close({ forwarder: "a", known: false });
  await close({ known: false });
  assert.deepEqual(closed, ["unix:///run/a", "unix:///run/a"]);
  for (const known of [true, false])
    await assert.rejects(close({ forwarder: "gone", known }), { code: Code.UNAVAILABLE, details: /close again/ });
});

test("a forwarder that drains keeps what it carries and gets nothing new", async () => {
  const { ask, tried, draining } = start(["a", "b"]);
  draining.add("a");
  await ask({});
  await ask({ forwarder: "a", known: true });
  assert.deepEqual(tried, ["unix:///run/b", "unix:///run/a"]);
  draining.add("b");
  await assert.rejects(ask({}), { code: Code.UNAVAILABLE, details: /drains/ });
});

interface Asked {
  readonly forwarder?: string;
  readonly known?: boolean;
  readonly state?: State;
  readonly deadlineMs?: number;
}

function start(names: readonly string[], service: Parameters<typeof NetworkService.fromPartial>[0] = {}) {
  const clock = manualClock();
  const locals = createLocalEndpoints();
  for (const name of names) {
    locals.set(NetworkServiceEndpoint.fromPartial({ name, network_service_names: ["forwarder"], url: `unix:///run/${name}` }));
  }
  const failing = new Map<string, Error>();
  const tried: string[] = [];
  const closed: string[] = [];
  const explained: string[] = [];
  const deadlines: (number | undefined)[] = [];
  const registered = new Set<string>();
  const draining = new Set<string>();
  let previous: Connection | undefined;
  const knows: Element<ConnectionApi, object, Pick<HasConnection, "previous">> = {
    name: "knows",
    steps: {
      request: (request, _context, rest) => rest.request(request, { previous }),
      close: (connection, _context, rest) => rest.close(connection, { previous }),
    },
  };
  const handler = chain<ConnectionApi>("test", ["request", "close"])
    .use(knows)
    .use(
      chooseForwarder({
        locals,
        serviceName: "forwarder",
        serviceOf: async () => NetworkService.fromPartial({ name: "s", ...service }),
        drains: (name) => draining.has(name),
        isRegisteredHere: async (name) => registered.has(name),
        clock,
        explain: (_id, candidate, verdict, rule) => void explained.push(`${candidate} ${verdict} ${rule}`),
      }),
    )
    .end({
      async request(request: NetworkServiceRequest, context: CallContext & NextHop) {
        tried.push(context.nextHop.url);
        deadlines.push(context.deadlineMs);
        const error = failing.get(context.nextHop.name);
        if (error !== undefined) throw error;
        assert.ok(request.connection);
        return request.connection;
      },
      async close(_connection, context) {
        closed.push(context.nextHop.url);
      },
    });
  const connectionOf = (asked: Asked): Connection => {
    const segments = [
      { name: "client", id: "c0" },
      { name: "nsmgr", id: "c1" },
    ];
    if (asked.forwarder !== undefined) segments.push({ name: asked.forwarder, id: "c2" });
    const path = { index: 1, path_segments: segments };
    const connection = Connection.fromPartial({ id: "c1", network_service: "s", path, state: asked.state ?? State.UP });
    previous = asked.known === true ? connection : undefined;
    return connection;
  };
  const call = (asked: Asked): CallContext => ({ ...backgroundCall(new AbortController().signal), deadlineMs: asked.deadlineMs });
  return {
    clock,
    ask: (asked: Asked) => handler.request({ connection: connectionOf(asked), mechanism_preferences: [] }, call(asked)),
    close: (asked: Asked) => handler.close(connectionOf(asked), call(asked)),
    tried,
    closed,
    explained,
    failing,
    deadlines,
    registered,
    draining,
  };
}
