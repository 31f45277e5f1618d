import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createObjectCache, type ObjectChange } from "./object-cache.js";
import { isLater, type KubernetesObject, keyOf } from "./resource.js";

test("any mixture of late, repeated and missing news gives the state of the last list and one change for each difference", () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 40 }), (steps) => {
      const world = createWorld();
      const told = new Map<string, KubernetesObject>();
      const cache = createObjectCache<KubernetesObject>(
        ({ previous, next }: ObjectChange<KubernetesObject>) => {
          const key = keyOf((next ?? previous) as KubernetesObject);
          assert.equal(told.get(key), previous, "a change begins where the one before ended");
          if (next === undefined) told.delete(key);
          else told.set(key, next);
        },
        (object) => object,
      );
      for (const step of steps) world.run(step, cache);
      cache.list(world.items(), world.version());
      const known = [...cache.objects.values()].map((object) => `${keyOf(object)}@${object.metadata.resourceVersion}`);
      const there = world.items().map((object) => `${keyOf(object)}@${object.metadata.resourceVersion}`);
      assert.deepEqual(known.sort(), there.sort());
      assert.deepEqual(new Map(cache.objects), told);
    }),
    { numRuns: 500 },
  );
});

test("an object learned while a list was under way is not taken for gone", () => {
  const { cache, told } = recording();
  cache.list([], "10");
  cache.learn(object("a", "u1", "12"));
  cache.list([], "11");
  assert.deepEqual(told, ["- > a@12"]);
  cache.list([], "13");
  assert.deepEqual(told, ["- > a@12", "a@12 > -"]);
});

test("what was deleted by a call of our own does not come back by an older list or event", () => {
  const { cache, told } = recording();
  cache.list([object("a", "u1", "5")], "10");
  cache.forget(object("a", "u1", "5"));
  cache.event("MODIFIED", object("a", "u1", "11"));
  cache.list([object("a", "u1", "11")], "11");
  cache.event("DELETED", object("a", "u1", "12"));
  cache.event("ADDED", object("a", "u2", "13"));
  assert.deepEqual(told, ["- > a@5", "a@5 > -", "- > a@13"]);
});

test("a server that was set back to a copy is believed", () => {
  const { cache, told } = recording();
  cache.list([object("a", "u1", "50"), object("b", "u2", "60")], "100");
  cache.list([object("a", "u1", "40")], "45");
  assert.deepEqual(told, ["- > a@50", "- > b@60", "b@60 > -", "a@50 > a@40"]);
});

test("an object that was deleted and made again between two lists is told as both", () => {
  const { cache, told } = recording();
  cache.list([object("a", "u1", "5")], "10");
  cache.list([object("a", "u2", "15")], "20");
  assert.deepEqual(told, ["- > a@5", "a@5 > -", "- > a@15"]);
});

test("resource versions are compared as numbers of any length", () => {
  assert.ok(isLater("100", "99"));
  assert.ok(!isLater("99", "100"));
  assert.ok(!isLater("7", "7"));
  assert.ok(isLater("18446744073709551616", "18446744073709551615"));
});

/** Writes at the server, and which of its events reach the cache. */
const anyStep = fc.record({
  name: fc.constantFrom("a", "b", "c"),
  verb: fc.constantFrom("write", "write", "delete", "list", "learn", "forget", "replay"),
  heard: fc.boolean(),
});
type Step = typeof anyStep extends fc.Arbitrary<infer T> ? T : never;

function createWorld() {
  let version = 1;
  let uids = 0;
  const there = new Map<string, KubernetesObject>();
  const past: { type: "ADDED" | "MODIFIED" | "DELETED"; object: KubernetesObject }[] = [];
  let older: { items: KubernetesObject[]; version: string } = { items: [], version: "1" };
  const items = (): KubernetesObject[] => [...there.values()];
  type Cache = ReturnType<typeof createObjectCache<KubernetesObject>>;

  function write(name: string): (typeof past)[number] {
    const known = there.get(name);
    const made = object(name, known?.metadata.uid ?? `u${++uids}`, String(++version));
    there.set(name, made);
    return { type: known === undefined ? "ADDED" : "MODIFIED", object: made };
  }

  function remove(name: string): (typeof past)[number] | undefined {
    const known = there.get(name);
    if (known === undefined) return undefined;
    there.delete(name);
    return { type: "DELETED", object: object(name, known.metadata.uid ?? "", String(++version)) };
  }

  return {
    items,
    version: () => String(version),
    run({ name, verb, heard }: Step, cache: Cache): void {
      if (verb === "write" || verb === "delete") {
        const event = verb === "write" ? write(name) : remove(name);
        if (event === undefined) return;
        past.push(event);
        if (heard) cache.event(event.type, event.object);
      } else if (verb === "learn") {
        cache.learn(write(name).object);
      } else if (verb === "forget") {
        const gone = remove(name);
        if (gone !== undefined) cache.forget(gone.object);
      } else if (verb === "list") {
        older = { items: items(), version: String(version) };
        cache.list(older.items, older.version);
      } else if (verb === "replay") {
        // a watch that begins again at the last list brings everything since then once more
        cache.list(older.items, older.version);
        for (const { type, object } of past) {
          if (isLater(object.metadata.resourceVersion, older.version)) cache.event(type, object);
        }
      }
    },
  };
}

function recording() {
  const told: string[] = [];
  const say = (one: KubernetesObject | undefined): string =>
    one === undefined ? "-" : `${one.metadata.name}@${one.metadata.resourceVersion}`;
  const cache = createObjectCache<KubernetesObject>(
    ({ previous, next }) => told.push(`${say(previous)} > ${say(next)}`),
    (one) => one,
  );
  return { cache, told };
}

function object(name: string, uid: string, resourceVersion: string): KubernetesObject {
  return { metadata: { name, namespace: "n", uid, resourceVersion } };
}
