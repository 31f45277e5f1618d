/** What every store must do; each implementation runs this suite. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { matchesEndpoint } from "../../sdk/registry/match.js";
import { Code } from "../../sdk/status.js";
import type { Change, Store, Stores } from "./store.js";

/** A store under test; `reopen` only for one that keeps its entries: closes and opens it again. */
export interface Opened {
  readonly stores: Stores;
  readonly reopen?: () => Promise<Stores>;
  /** Removes whatever it has left. */
  readonly end: () => Promise<void>;
}

/** @param skip  why this machine cannot run the store */
export function storeCompliance(name: string, open: () => Promise<Opened>, skip: string | false = false): void {
  const on = (what: string, body: (opened: Opened) => Promise<void>) =>
    test(`store ${name}: ${what}`, { skip }, async () => {
      const opened = await open();
      try {
        await body(opened);
      } finally {
        await opened.end();
      }
    });

  on(
    "row 3.1: an entry is found by name, service, url and all at once until it is removed",
    async ({ stores: { endpoints } }) => {
      await put(endpoints, "a", { network_service_names: ["s", "t"], url: "tcp://10.0.0.1:5001" });
      await put(endpoints, "b", { network_service_names: ["s"], url: "tcp://10.0.0.12:5001" });
      await put(endpoints, "c", { network_service_names: ["u"], url: "unix:///run/tcp://10.0.0.1" });
      assert.deepEqual(names(endpoints, {}), ["a", "b", "c"]);
      assert.deepEqual(names(endpoints, { name: "b" }), ["b"]);
      assert.deepEqual(names(endpoints, { network_service_names: ["s"] }), ["a", "b"]);
      assert.deepEqual(names(endpoints, { network_service_names: ["s", "t"] }), ["a"]);
      assert.deepEqual(names(endpoints, { url: "tcp://10.0.0.1" }), ["a", "b", "c"]);
      assert.deepEqual(names(endpoints, { url: "tcp://10.0.0.1:5001" }), ["a"]);
      assert.deepEqual(names(endpoints, { url: "10.0.0" }), ["a", "b", "c"]);
      assert.deepEqual(names(endpoints, { network_service_names: ["s"], url: "tcp://10.0.0.12:5001" }), ["b"]);
      assert.deepEqual(names(endpoints, { network_service_names: ["nothing"] }), []);
      await endpoints.replace("a", endpoints.table.get("a"), undefined);
      assert.deepEqual(names(endpoints, { url: "tcp://10.0.0.1" }), ["b", "c"]);
      assert.equal(endpoints.table.size, 2);
    },
  );

  on("services and endpoints of one name are apart", async ({ stores }) => {
    await stores.services.replace("x", undefined, NetworkService.fromPartial({ name: "x", payload: "IP" }));
    assert.equal(stores.endpoints.table.get("x"), undefined);
    assert.equal(stores.services.table.get("x")?.payload, "IP");
  });

  on("names that are properties of every object are names like others", async ({ stores: { endpoints } }) => {
    for (const name of ["constructor", "__proto__", "toString"]) {
      assert.equal(endpoints.table.get(name), undefined);
      await put(endpoints, name, { network_service_names: [name] });
      assert.deepEqual(names(endpoints, { network_service_names: [name] }), [name]);
    }
  });

  on(
    "a replace whose expectation is overtaken is refused with ABORTED and changes nothing",
    async ({ stores: { endpoints } }) => {
      const first = await put(endpoints, "a", { url: "tcp://1:1" });
      const second = await put(endpoints, "a", { url: "tcp://2:2" });
      assert.notEqual(first, second);
      const aborted = { code: Code.ABORTED };
      await assert.rejects(endpoints.replace("a", first, undefined), aborted);
      await assert.rejects(endpoints.replace("a", undefined, endpoint("a", { url: "tcp://3:3" })), aborted);
      await assert.rejects(endpoints.replace("b", second, undefined), aborted);
      assert.equal(endpoints.table.get("a"), second);
      await endpoints.replace("a", second, undefined);
      assert.equal(endpoints.table.size, 0);
    },
  );

  on("of several writers at once exactly one wins each round", async ({ stores: { endpoints } }) => {
    for (let round = 0; round < 3; round++) {
      const expected = endpoints.table.get("a");
      const writers = Array.from({ length: 8 }, (_, i) =>
        endpoints.replace("a", expected, endpoint("a", { url: `tcp://h:${round}${i}` })),
      );
      const results = await Promise.allSettled(writers);
      assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
    }
  });

  on("subscribers are told of each change once, in order, at the moment it is visible", async ({ stores: { endpoints } }) => {
    const told: string[] = [];
    const describe = ({ previous, next }: Change<NetworkServiceEndpoint>) => `${previous?.url ?? "-"} > ${next?.url ?? "-"}`;
    const stop = endpoints.table.subscribe((change) => {
      told.push(describe(change));
      assert.equal(endpoints.table.get((change.next ?? change.previous)?.name ?? ""), change.next);
      assert.equal(change.place.entry, change.next);
    });
    await put(endpoints, "a", { url: "u1" });
    await put(endpoints, "a", { url: "u2" });
    await endpoints.replace("a", endpoints.table.get("a"), undefined);
    await put(endpoints, "a", { url: "u3" });
    stop();
    await put(endpoints, "a", { url: "u4" });
    assert.deepEqual(told, ["- > u1", "u1 > u2", "u2 > -", "- > u3"]);
  });

  on("places keep their order over refreshes; a name that comes back stands last", async ({ stores: { endpoints } }) => {
    for (const name of ["a", "b", "c"]) await put(endpoints, name, { network_service_names: ["s"] });
    await put(endpoints, "a", { network_service_names: ["s", "t"] });
    await put(endpoints, "b", { network_service_names: ["t"] });
    await put(endpoints, "b", { network_service_names: ["s"] });
    assert.deepEqual(names(endpoints, { network_service_names: ["s"] }), ["a", "b", "c"]);
    await endpoints.replace("a", endpoints.table.get("a"), undefined);
    await put(endpoints, "a", { network_service_names: ["s"] });
    assert.deepEqual(names(endpoints, { network_service_names: ["s"] }), ["b", "c", "a"]);
  });

  on("nothing of a message is lost, also what only a newer API knows", async ({ stores, reopen }) => {
    const full = NetworkServiceEndpoint.decode(
      Buffer.concat([
        NetworkServiceEndpoint.encode(
          endpoint("full", {
            network_service_names: ["s", "s", ""],
            network_service_labels: { s: { labels: { a: "1", "": "x" } }, empty: { labels: {} } },
            url: "tcp://10.0.0.1:5001",
            expiration_time: { seconds: 1_700_000_000, nanos: 5 },
            initial_registration_time: { seconds: 1_600_000_000, nanos: 999_999_999 },
            path_ids: ["spiffe://a", ""],
          }),
        ).finish(),
        Buffer.from("f2010161", "hex"), // field 30, one byte of text
      ]),
    );
    await stores.endpoints.replace("full", undefined, full);
    const bytes = (from: Stores) => NetworkServiceEndpoint.encode(from.endpoints.table.get("full") ?? endpoint("", {})).finish();
    assert.deepEqual(bytes(stores), NetworkServiceEndpoint.encode(full).finish());
    if (reopen !== undefined) assert.deepEqual(bytes(await reopen()), NetworkServiceEndpoint.encode(full).finish());
  });

  on("any sequence of changes gives what a plain search would find", async ({ stores: { endpoints }, reopen }) => {
    let table = endpoints.table;
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 12 }), anyQuery, async (steps, query) => {
        for (const { name, remove, entry } of steps) {
          const before = endpoints.table.get(name);
          if (!remove || before !== undefined) await endpoints.replace(name, before, remove ? undefined : endpoint(name, entry));
        }
        const wanted = endpoint(query.name, query);
        const expected = table.select(endpoint("", {})).filter(({ entry }) => entry && matchesEndpoint(wanted, entry));
        assert.deepEqual(table.select(wanted), expected);
      }),
      { numRuns: reopen === undefined ? 400 : 30 },
    );
    if (reopen === undefined) return;
    const before = table.select(endpoint("", {})).map(({ entry }) => entry);
    table = (await reopen()).endpoints.table;
    const after = table.select(endpoint("", {})).map(({ entry }) => entry);
    const byName = (a?: NetworkServiceEndpoint, b?: NetworkServiceEndpoint) => ((a?.name ?? "") < (b?.name ?? "") ? -1 : 1);
    assert.deepEqual(after.sort(byName), before.sort(byName));
  });
}

const anyName = fc.constantFrom("a", "b", "c", "d", "e");
const anyService = fc.constantFrom("s", "t", "u");
const anyUrl = fc.constantFrom("", "tcp://1:1", "tcp://1:11", "xtcp://1:1", "unix:///x?u=tcp://1:1", "1:1");
const anyEntry = fc.record({ network_service_names: fc.array(anyService, { maxLength: 3 }), url: anyUrl });
const anyStep = fc.record({ name: anyName, remove: fc.boolean(), entry: anyEntry });
const anyQuery = fc.record({
  name: fc.oneof({ weight: 3, arbitrary: fc.constant("") }, anyName),
  network_service_names: fc.array(anyService, { maxLength: 2 }),
  url: fc.oneof(anyUrl, fc.constantFrom("tcp://", "://", ":1", "p://1:1", "x")),
});

type Partial = Parameters<typeof NetworkServiceEndpoint.fromPartial>[0];

function endpoint(name: string, partial: Partial): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({ ...partial, name });
}

/** Puts an entry whatever is there; gives what the table then holds. */
async function put(store: Store<NetworkServiceEndpoint>, name: string, partial: Partial) {
  await store.replace(name, store.table.get(name), endpoint(name, partial));
  return store.table.get(name);
}

function names(store: Store<NetworkServiceEndpoint>, query: Partial): (string | undefined)[] {
  return store.table.select(NetworkServiceEndpoint.fromPartial(query)).map(({ entry }) => entry?.name);
}
