import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ConnectionApi, Found } from "../sdk/api.js";
import { backgroundCall, chain, type Element } from "../sdk/chain.js";
import { manualClock } from "../sdk/clock.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import { Connection, State } from "../sdk/gen/connection.js";
import { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, statusError } from "../sdk/status.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { lingerMs, moveMs, watchService } from "./watch-service.js";

test("row 2.11: an edit that rules the endpoint out moves its connections and no others", async (t) => {
  const { ask, edit, seen, until, clock } = start(t);
  await ask("c1", "blue");
  await ask("c2", "green");
  edit("green");
  await until(() => seen.length === 1);
  clock.advance(moveMs - 1);
  assert.deepEqual(seen, ["c1 RESELECT_REQUESTED"], "the workload has time to make its new path");
  clock.advance(1);
  assert.deepEqual(seen, ["c1 RESELECT_REQUESTED", "c1 closed: endpoint blue no longer matches service s"]);
});

test("row 2.11: who was told to move and names the old endpoint all the same is refused; who reselects is not", async (t) => {
  const { ask, close, edit, seen, until, clock } = start(t);
  await ask("c1", "blue");
  edit("green");
  await until(() => seen.length === 1);
  await close("c1");
  clock.advance(moveMs);
  assert.equal(seen.length, 1, "what is given back in time is not closed again");
  await assert.rejects(ask("c1", "blue"), { code: Code.FAILED_PRECONDITION, details: /blue does not match service s/ });
  await ask("c1", "blue", State.RESELECT_REQUESTED);
});

test("row 2.11: a choice made from an older state of the service than the watch has told of is put right", async (t) => {
  const { ask, edit, seen, until, chosen, lookups, clock } = start(t);
  await ask("c1", "green");
  edit("green");
  await until(() => lookups.includes("green"));
  chosen.endpoint = "blue";
  await ask("c2", "");
  await until(() => seen.length === 1);
  clock.advance(moveMs);
  assert.match(seen[1] ?? "", /c2 closed: endpoint blue/);
});

test("row 2.11: a service that is edited back in time cuts nothing", async (t) => {
  const { ask, edit, seen, until, lookups, clock } = start(t);
  await ask("c1", "blue");
  edit("green");
  await until(() => seen.length === 1);
  const looked = lookups.length;
  edit("blue");
  await until(() => lookups.length > looked);
  await new Promise((resolve) => setImmediate(resolve));
  clock.advance(moveMs);
  assert.deepEqual(seen, ["c1 RESELECT_REQUESTED"]);
});

test("an edit that the endpoint fits, a deleted service and a vanished endpoint move nobody", async (t) => {
  const { ask, edit, seen, until, lookups } = start(t);
  await ask("c1", "blue");
  await ask("c2", "vanished");
  edit("blue");
  await until(() => lookups.includes("vanished") && lookups.includes("blue"));
  edit("green", true);
  edit("blue");
  await until(() => lookups.filter((name) => name === "vanished").length === 2);
  assert.deepEqual(seen, []);
});

test("one watch per service, opened again when it breaks, kept for a while after the last connection", async (t) => {
  const { ask, close, edit, seen, streams, until, clock } = start(t);
  await ask("c1", "blue");
  await ask("c2", "blue");
  assert.equal(streams.opened, 1);
  streams.fail();
  await until(() => streams.opened === 2);
  edit("green");
  await until(() => seen.length === 2);
  await close("c1");
  assert.equal(streams.open, 1);
  await close("c2");
  clock.advance(lingerMs - 1);
  await ask("c3", "green");
  clock.advance(lingerMs);
  assert.deepEqual([streams.open, streams.opened], [1, 2]);
  await close("c3");
  clock.advance(lingerMs);
  await until(() => streams.open === 0);
});

function start(t: TestContext) {
  const clock = manualClock();
  const stop = new AbortController();
  t.after(() => stop.abort());
  const seen: string[] = [];
  const lookups: string[] = [];
  const streams = { opened: 0, open: 0, fail: () => {} };
  let push: (found: Found<NetworkService>) => void = () => {};
  let current: Found<NetworkService> = { entry: NetworkService.fromPartial({ name: "s" }), deleted: false };
  const edit = (colour: string, deleted = false): void => {
    const matches = [{ routes: [{ destination_selector: { colour } }] }];
    current = { entry: NetworkService.fromPartial({ name: "s", matches }), deleted };
    push(current);
  };
  async function* find(_query: NetworkService, { signal }: { signal: AbortSignal }): AsyncGenerator<Found<NetworkService>> {
    streams.opened++;
    streams.open++;
    const queue: (Found<NetworkService> | Error)[] = [current];
    let wake = (): void => {};
    push = (found) => {
      queue.push(found);
      wake();
    };
    streams.fail = () => {
      queue.push(statusError(Code.UNAVAILABLE, "gone"));
      wake();
    };
    signal.addEventListener("abort", () => wake());
    try {
      while (!signal.aborted) {
        const next = queue.shift();
        if (next instanceof Error) throw next;
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      streams.open--;
    }
  }
  const chosen = { endpoint: "" };
  const known = new Map<string, Connection>();
  const knows: Element<ConnectionApi, object, HasConnection> = {
    name: "knows",
    steps: {
      async request(request, _context, rest) {
        const id = request.connection?.id ?? "";
        const events = {
          changed: (connection: Connection) =>
            void seen.push(
              `${connection.id} ${connection.state === State.RESELECT_REQUESTED ? "RESELECT_REQUESTED" : connection.state}`,
            ),
          close: (reason: string) => void seen.push(`${id} closed: ${reason}`),
        };
        const answer = await rest.request(request, { previous: known.get(id), events });
        known.set(id, answer);
        return answer;
      },
      async close(connection, _context, rest) {
        known.delete(connection.id);
        await rest.close(connection, { previous: undefined, events: { changed() {}, close() {} } });
      },
    },
  };
  const handler = chain<ConnectionApi>("test", ["request", "close"])
    .use(knows)
    .use(
      watchService({
        find,
        serviceOf: async () => current.entry,
        publish: ({ id: one, state }) =>
          void seen.push(`${one} ${state === State.RESELECT_REQUESTED ? "RESELECT_REQUESTED" : state}`),
        endpointOf: async (name) => {
          lookups.push(name);
          if (name === "vanished") return undefined;
          return NetworkServiceEndpoint.fromPartial({ name, network_service_labels: { s: { labels: { colour: name } } } });
        },
        clock,
        log: silentLog,
        signal: stop.signal,
      }),
    )
    .end({
      async request({ connection }) {
        assert.ok(connection);
        const network_service_endpoint_name = connection.network_service_endpoint_name || chosen.endpoint;
        return { ...connection, network_service_endpoint_name, state: State.UP };
      },
      async close() {},
    });
  const connectionOf = (id: string, endpoint: string, state: State): Connection =>
    Connection.fromPartial({
      id,
      network_service: "s",
      network_service_endpoint_name: endpoint,
      state,
      path: { index: 1, path_segments: [] },
    });
  const call = backgroundCall(stop.signal);
  return {
    ask: (id: string, endpoint: string, state: State = State.UP) =>
      handler.request({ connection: connectionOf(id, endpoint, state), mechanism_preferences: [] }, call),
    close: (id: string) => handler.close(connectionOf(id, "", State.UP), call),
    edit,
    clock,
    chosen,
    seen,
    streams,
    lookups,
    until,
  };
}

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadlineMs) throw new Error("condition not met in time");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
