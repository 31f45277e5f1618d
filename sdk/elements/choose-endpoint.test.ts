import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionApi } from "../api.js";
import { backgroundCall, chain } from "../chain.js";
import { Connection, State } from "../gen/connection.js";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { NetworkService, NetworkServiceEndpoint } from "../gen/registry.js";
import { matchesEndpoint, matchesService } from "../registry/match.js";
import { Code, isStatusError, statusError } from "../status.js";
import { createFakeRegistry } from "../testing/fake-registry.js";
import { timestampOf } from "../timestamp.js";
import { chooseEndpoint } from "./choose-endpoint.js";
import { createJournal } from "./explain.js";

test("row 2.3: endpoints take turns, and the payload comes from the service", async () => {
  const mesh = start(["a", "b", "c"]);
  const names: string[] = [];
  for (let i = 0; i < 4; i++) names.push((await mesh.ask()).network_service_endpoint_name);
  assert.deepEqual(names, ["a", "b", "c", "a"]);
  assert.equal((await mesh.ask()).payload, "IP");
});

test("row 2.4: the next candidate is tried when one fails, and the journal says so", async () => {
  const mesh = start(["a", "b"]);
  mesh.failing.set("a", statusError(Code.UNAVAILABLE, "nobody answers"));
  assert.equal((await mesh.ask()).network_service_endpoint_name, "b");
  assert.deepEqual(
    mesh.journal.explain("c1").map(({ candidate, verdict, rule }) => `${candidate} ${verdict} ${rule}`),
    ["a FAILED UNAVAILABLE: nobody answers", "b CHOSEN the first that answered"],
  );
});

test("an endpoint that hangs costs its share of the time and no more", async () => {
  const mesh = start(["a", "b"]);
  mesh.hanging = "a";
  const answer = await mesh.ask({}, undefined, Date.now() + 400);
  assert.equal(answer.network_service_endpoint_name, "b");
});

test("one that did not answer a moment ago leaves nearly all the time to the one that does", async () => {
  const mesh = start(["a", "b"]);
  mesh.failing.set("a", statusError(Code.UNAVAILABLE, "nobody answers"));
  await assert.rejects(mesh.ask({ network_service_endpoint_name: "a", payload: "IP" }));
  mesh.tried.length = 0;
  const limitMs = 60_000;
  const answer = await mesh.ask({}, undefined, Date.now() + limitMs);
  assert.equal(answer.network_service_endpoint_name, "b");
  assert.deepEqual(mesh.tried, ["b"]);
  assert.ok((mesh.shareMs ?? 0) > 0.75 * limitMs, `${mesh.shareMs} of ${limitMs} ms`);
  assert.ok((mesh.shareMs ?? 0) < 0.9 * limitMs, "and a little is left for the other one");
});

test("an endpoint that answers others while one waits in vain is slow, not silent", async () => {
  const mesh = start(["a", "b"]);
  const caller = new AbortController();
  mesh.hanging = "a";
  const waiting = mesh.ask({ network_service_endpoint_name: "a", payload: "IP" }, caller.signal);
  mesh.hanging = "";
  await mesh.ask({ network_service_endpoint_name: "a", payload: "IP" });
  caller.abort(statusError(Code.DEADLINE_EXCEEDED, "too late"));
  await assert.rejects(waiting);
  assert.equal((await mesh.ask()).network_service_endpoint_name, "a");
});

test("an endpoint that has gone is avoided, though it answered somebody meanwhile", async () => {
  const mesh = start(["a", "b"]);
  await mesh.ask({ network_service_endpoint_name: "a", payload: "IP" });
  mesh.failing.set("a", statusError(Code.UNAVAILABLE, "nobody answers"));
  await assert.rejects(mesh.ask({ network_service_endpoint_name: "a", payload: "IP" }));
  assert.equal((await mesh.ask()).network_service_endpoint_name, "b");
});

test("of two that did not answer the one whose silence is longer ago comes first", async () => {
  const mesh = start(["a", "b"]);
  for (const name of ["b", "a"]) {
    mesh.failing.set(name, statusError(Code.UNAVAILABLE, "nobody answers"));
    await assert.rejects(mesh.ask({ network_service_endpoint_name: name, payload: "IP" }));
    mesh.failing.delete(name);
    mesh.nowMs += 1;
  }
  assert.equal((await mesh.ask()).network_service_endpoint_name, "b");
});

test("two clients that give the same endpoint up by turns are not sent back to it, each by the other's turn", async () => {
  const mesh = start(["a", "b"]);
  const path_segments = ["client", "nsmgr", "forwarder", "a"].map((name) => ({ name, id: name, token: "", metrics: {} }));
  const path = { index: 1, path_segments };
  const names: string[] = [];
  for (let i = 0; i < 4; i++)
    names.push((await mesh.ask({ state: State.RESELECT_REQUESTED, path })).network_service_endpoint_name);
  assert.deepEqual(names, ["b", "b", "b", "b"]);
  mesh.failing.set("b", statusError(Code.UNAVAILABLE, "nobody answers"));
  const last = await mesh.ask({ state: State.RESELECT_REQUESTED, path });
  assert.equal(last.network_service_endpoint_name, "a", "it is still better than nobody");
});

test("when all fail the error names each", async () => {
  const mesh = start(["a", "b"]);
  mesh.failing.set("a", statusError(Code.UNAVAILABLE, "nobody answers"));
  mesh.failing.set("b", statusError(Code.RESOURCE_EXHAUSTED, "no address left"));
  await assert.rejects(mesh.ask(), (error) => {
    assert.ok(isStatusError(error));
    assert.equal(error.code, Code.UNAVAILABLE);
    assert.match(error.details, /a: UNAVAILABLE nobody answers; b: RESOURCE_EXHAUSTED no address left/);
    return true;
  });
});

test("a request that names its endpoint and payload asks no registry", async () => {
  const mesh = start(["a"]);
  const answer = await mesh.ask({ network_service_endpoint_name: "z", payload: "ETHERNET" });
  assert.equal(answer.network_service_endpoint_name, "z");
  assert.equal(mesh.endpoints.counts.find + mesh.services.counts.find, 0);
});

test("an expired registration is no candidate", async () => {
  const mesh = start(["a", "b"]);
  mesh.endpoints.entries.set("a", endpoint("a", { expiration_time: timestampOf(1000) }));
  assert.equal((await mesh.ask()).network_service_endpoint_name, "b");
  assert.equal((await mesh.ask()).network_service_endpoint_name, "b");
});

for (const { why, change, says } of [
  { why: "an unknown service", change: { network_service: "nonsense" }, says: /"nonsense" is not registered/ },
  { why: "a hostile service name", change: { network_service: "__proto__" }, says: /"__proto__" is not registered/ },
  { why: "another payload", change: { payload: "ETHERNET" }, says: /with payload ETHERNET is not registered/ },
]) {
  test(`${why} is NOT_FOUND`, async () => {
    await assert.rejects(start(["a"]).ask(change), { code: Code.NOT_FOUND, message: says });
  });
}

test("a service without endpoints is NOT_FOUND", async () => {
  await assert.rejects(start([]).ask(), { code: Code.NOT_FOUND, message: /none is registered/ });
});

test("a caller that has gone is not tried for any further", async () => {
  const mesh = start(["a", "b"]);
  const caller = new AbortController();
  mesh.onTry = () => caller.abort();
  mesh.failing.set("a", statusError(Code.UNAVAILABLE, "cut"));
  await assert.rejects(mesh.ask({}, caller.signal), { name: "AbortError" });
  assert.deepEqual(mesh.tried, ["a"]);
});

function endpoint(name: string, change: Partial<NetworkServiceEndpoint> = {}): NetworkServiceEndpoint {
  return { ...NetworkServiceEndpoint.fromPartial({ name, network_service_names: ["svc"], url: "unix:///x" }), ...change };
}

function start(names: string[]) {
  const services = createFakeRegistry<NetworkService>(matchesService);
  const endpoints = createFakeRegistry<NetworkServiceEndpoint>(matchesEndpoint);
  services.entries.set("svc", NetworkService.fromPartial({ name: "svc", payload: "IP" }));
  for (const name of names) endpoints.entries.set(name, endpoint(name));
  const journal = createJournal();
  const mesh = {
    services,
    endpoints,
    journal,
    failing: new Map<string, Error>(),
    tried: [] as string[],
    shareMs: undefined as number | undefined,
    nowMs: Date.now(),
    onTry: () => {},
    hanging: "",
    ask(change: Partial<Connection> = {}, signal = new AbortController().signal, deadlineMs?: number): Promise<Connection> {
      const connection = { ...Connection.fromPartial({ id: "c1", network_service: "svc" }), ...change };
      return handler.request(NetworkServiceRequest.fromPartial({ connection }), { ...backgroundCall(signal), deadlineMs });
    },
  };
  const handler = chain<ConnectionApi>("hop", ["request", "close"])
    .use(chooseEndpoint({ services, endpoints, journal, nowMs: () => mesh.nowMs }))
    .end({
      async request({ connection }, { signal, deadlineMs }) {
        const name = connection?.network_service_endpoint_name ?? "";
        mesh.shareMs = deadlineMs === undefined ? undefined : deadlineMs - Date.now();
        mesh.tried.push(name);
        mesh.onTry();
        if (name === mesh.hanging)
          await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
        const failure = mesh.failing.get(name);
        if (failure !== undefined) throw failure;
        return connection ?? Connection.fromPartial({});
      },
      close: async () => {},
    });
  return mesh;
}
