import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, type CallContext, chain, type Element } from "../chain.js";
import { manualClock } from "../clock.js";
import { Connection } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, isStatusError, statusError } from "../status.js";
import { authorize } from "./authorize.js";
import { exchangeTokens } from "./exchange-tokens.js";
import { labelWorkload } from "./label-workload.js";
import { trimPath } from "./trim-path.js";
import { validateRequest } from "./validate-request.js";

const call = backgroundCall(new AbortController().signal);
const path = {
  index: 1,
  path_segments: ["client", "hop", "next"].map((name) => ({ name, id: `${name}-id`, token: "", metrics: {} })),
};

test("labels of the place are added where they are missing", async () => {
  const { seen } = await through(labelWorkload({ nodeName: "node-1", podName: "", clusterName: "east" }), {
    labels: { clusterName: "west", app: "x" },
  });
  assert.deepEqual(seen.labels, { clusterName: "west", app: "x", nodeName: "node-1" });
});

test("an endpoint cuts the path after itself", async () => {
  const { answer } = await through(trimPath(), { path });
  assert.deepEqual(
    answer.path?.path_segments.map(({ name }) => name),
    ["client", "hop"],
  );
});

test("a policy may refuse, and without one everybody may", async () => {
  const refuse = authorize(async (method, { id }) => {
    throw statusError(Code.PERMISSION_DENIED, `${method} ${id}`);
  });
  await assert.rejects(through(refuse, { id: "c1" }), { code: Code.PERMISSION_DENIED, details: "request c1" });
  await through(authorize(), { id: "c1" });
});

test("the caller's token goes into its segment, our expiry into ours", async () => {
  const clock = manualClock(1_000_000);
  const headers: Record<string, string[]> = {
    "nsm-client-token": ["jwt"],
    "nsm-client-token-expires": ["2026-11-21T10:46:55.527739144+01:00"],
  };
  const element = exchangeTokens({ clock, maxTokenLifetimeMs: 600_000 });
  const { seen } = await through(element, { path }, { metadata: (name) => headers[name] ?? [] });
  const [first, own] = seen.path?.path_segments ?? [];
  assert.equal(first?.token, "jwt");
  assert.equal(first?.expires?.seconds, Date.parse("2026-11-21T09:46:55Z") / 1000);
  assert.deepEqual(own?.expires, { seconds: 1600, nanos: 0 });
});

test("two values of a token header are as if there were none; an expiry that is no time is refused", async () => {
  const element = exchangeTokens({ clock: manualClock(0), maxTokenLifetimeMs: 1 });
  const twice = await through(element, { path }, { metadata: () => ["a", "b"] });
  assert.equal(twice.seen.path?.path_segments[0]?.token, "");
  await assert.rejects(through(element, { path }, { metadata: () => ["never"] }), { code: Code.INVALID_ARGUMENT });
});

const long = "x".repeat(100_000);
const refusals: { why: string; request: unknown; says: RegExp }[] = [
  { why: "no connection", request: {}, says: /connection is missing/ },
  { why: "no service", request: { connection: { id: "c" } }, says: /network_service is empty/ },
  { why: "a long id", request: { connection: { network_service: "s", id: long } }, says: /connection.id has 100000 characters/ },
  { why: "a long label", request: { connection: { network_service: "s", labels: { a: long } } }, says: /labels\["a"\]/ },
  {
    why: "many labels",
    request: {
      connection: { network_service: "s", labels: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`l${i}`, ""])) },
    },
    says: /300 entries, more than 256/,
  },
  {
    why: "a looping path",
    request: { connection: { network_service: "s", path: { index: 0, path_segments: Array(129).fill({ name: "a" }) } } },
    says: /is there a loop/,
  },
  {
    why: "many preferences",
    request: { connection: { network_service: "s" }, mechanism_preferences: Array(33).fill({ type: "KERNEL" }) },
    says: /mechanism_preferences has 33 entries/,
  },
  {
    why: "many routes",
    request: { connection: { network_service: "s", context: { ip_context: { src_routes: Array(5000).fill({}) } } } },
    says: /src_routes has 5000/,
  },
];
for (const { why, request, says } of refusals) {
  test(`${why} is refused`, async () => {
    const handler = chain<ConnectionApi>("hop", ["request", "close"]).use(validateRequest()).end(echo([]));
    await assert.rejects(handler.request(NetworkServiceRequest.fromPartial(request as NetworkServiceRequest), call), {
      code: Code.INVALID_ARGUMENT,
      message: says,
    });
  });
}

test("whatever bytes decode to, the checks answer or pass, and never throw anything else", async () => {
  const handler = chain<ConnectionApi>("hop", ["request", "close"]).use(validateRequest()).end(echo([]));
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      let request: NetworkServiceRequest;
      try {
        request = NetworkServiceRequest.decode(bytes);
      } catch {
        return;
      }
      await handler.request(request, call).catch((error) => assert.ok(isStatusError(error), String(error)));
    }),
  );
});

function echo(seen: Connection[]) {
  return {
    async request({ connection }: NetworkServiceRequest) {
      const answer = connection ?? Connection.fromPartial({});
      seen.push(answer);
      return answer;
    },
    close: async () => {},
  };
}

async function through(element: Element<ConnectionApi>, change: Partial<Connection>, context: Partial<CallContext> = {}) {
  const seen: Connection[] = [];
  const handler = chain<ConnectionApi>("hop", ["request", "close"]).use(element).end(echo(seen));
  const connection = { ...Connection.fromPartial({ id: "hop-id", network_service: "s" }), ...change };
  const answer = await handler.request(NetworkServiceRequest.fromPartial({ connection }), { ...call, ...context });
  return { seen: seen[0] ?? Connection.fromPartial({}), answer };
}
