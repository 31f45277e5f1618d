import assert from "node:assert/strict";
import { test } from "node:test";
import type { Found } from "../sdk/api.js";
import { manualClock } from "../sdk/clock.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { matchesEndpoint } from "../sdk/registry/match.js";
import { Code, statusError } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { timestampOf } from "../sdk/timestamp.js";
import { standIn } from "./stand-in.js";

test("row 7.4: what was seen stands in while the registry is away, also under another query, and no longer when it is back", async () => {
  const { find, upstream } = start();
  upstream.entries = [endpoint("a"), endpoint("b")];
  assert.deepEqual(await find({ network_service_names: ["s"] }), ["a", "b"]);
  upstream.away = true;
  assert.deepEqual(await find({ name: "b" }), ["b"]);
  await assert.rejects(find({ name: "never-seen" }), { code: Code.UNAVAILABLE });
  upstream.away = false;
  upstream.entries = [];
  assert.deepEqual(await find({ name: "b" }), []);
});

test("row 7.4: a lease that ended before the registry went away is over, one that ends meanwhile is not; ten minutes are the end", async () => {
  const { find, upstream, clock } = start();
  upstream.entries = [endpoint("short", 1_000), endpoint("long", 60_000)];
  await find({});
  clock.advance(2_000);
  upstream.entries = [];
  await find({ name: "touch" });
  upstream.away = true;
  clock.advance(120_000);
  assert.deepEqual(await find({}), ["long"]);
  clock.advance(600_000);
  await assert.rejects(find({}), { code: Code.UNAVAILABLE });
});

test("row 7.4: what was registered through us stands in though nobody has asked for it, until it is unregistered", async () => {
  const { find, upstream, registry } = start();
  const call = { signal: new AbortController().signal };
  await registry.register(endpoint("new"), call);
  upstream.away = true;
  assert.deepEqual(await find({ name: "new" }), ["new"]);
  await registry.unregister(endpoint("new"), call);
  await assert.rejects(find({ name: "new" }), { code: Code.UNAVAILABLE });
});

test("deleted entries do not stand in, watches and refusals are passed on", async () => {
  const { find, upstream, registry } = start();
  upstream.entries = [endpoint("a"), endpoint("b")];
  upstream.deleted.add("a");
  await find({});
  upstream.away = true;
  assert.deepEqual(await find({}), ["b"]);
  const watch = registry.find(endpoint(""), { watch: true, signal: new AbortController().signal });
  await assert.rejects(watch[Symbol.asyncIterator]().next(), { code: Code.UNAVAILABLE });
  upstream.error = statusError(Code.PERMISSION_DENIED, "no");
  await assert.rejects(find({}), { code: Code.PERMISSION_DENIED });
});

function start() {
  const clock = manualClock(1_000);
  const upstream = {
    entries: [] as NetworkServiceEndpoint[],
    deleted: new Set<string>(),
    away: false,
    error: statusError(Code.UNAVAILABLE, "gone"),
  };
  const registry = standIn<NetworkServiceEndpoint>(
    {
      register: async (entry) => entry,
      unregister: async () => {},
      async *find(): AsyncGenerator<Found<NetworkServiceEndpoint>> {
        if (upstream.away) throw upstream.error;
        for (const entry of upstream.entries) yield { entry, deleted: upstream.deleted.has(entry.name) };
      },
    },
    { matches: matchesEndpoint, clock, log: silentLog },
  );
  const find = async (query: { name?: string; network_service_names?: string[] }): Promise<string[]> => {
    const names: string[] = [];
    const call = { watch: false, signal: new AbortController().signal };
    for await (const { entry } of registry.find(NetworkServiceEndpoint.fromPartial(query), call)) names.push(entry.name);
    return names;
  };
  return { clock, upstream, registry, find };
}

function endpoint(name: string, lifetimeMs = 600_000): NetworkServiceEndpoint {
  const expiration_time = timestampOf(1_000 + lifetimeMs);
  return NetworkServiceEndpoint.fromPartial({ name, network_service_names: ["s"], url: "unix:///e", expiration_time });
}
