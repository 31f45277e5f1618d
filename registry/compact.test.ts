import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { compactEndpoint } from "./compact.js";
import { createInterner } from "./intern.js";

const text = fc.oneof(fc.constantFrom("s", "t", "constructor", ""), fc.string());
const labels = fc.dictionary(text, text, { maxKeys: 3 });
const time = fc.option(fc.record({ seconds: fc.integer(), nanos: fc.integer({ min: 0, max: 999_999_999 }) }), { nil: undefined });
const anyEndpoint = fc
  .record({
    name: text,
    network_service_names: fc.array(text, { maxLength: 3 }),
    network_service_labels: fc.dictionary(
      text,
      labels.map((map) => ({ labels: map })),
      { maxKeys: 2 },
    ),
    url: text,
    expiration_time: time,
    initial_registration_time: time,
    path_ids: fc.array(text, { maxLength: 2 }),
  })
  .map((partial) => NetworkServiceEndpoint.encode(NetworkServiceEndpoint.fromPartial(partial)).finish());
// field 30 of a newer API, in the message or not
const newer = fc.boolean().map((is) => (is ? Uint8Array.from([0xf2, 0x01, 0x01, 0x61]) : new Uint8Array()));

test("a compact endpoint says the same as the one it came from, whatever stood there before", () => {
  fc.assert(
    fc.property(anyEndpoint, newer, fc.option(anyEndpoint, { nil: undefined }), (bytes, more, before) => {
      const entry = NetworkServiceEndpoint.decode(Buffer.concat([bytes, more]));
      const like = before === undefined ? undefined : compactEndpoint(NetworkServiceEndpoint.decode(before), undefined);
      const named = like === undefined ? undefined : { ...like, name: entry.name };
      const original = NetworkServiceEndpoint.encode(entry).finish();
      assert.deepEqual(NetworkServiceEndpoint.encode(compactEndpoint(entry, named)).finish(), original);
      assert.deepEqual(NetworkServiceEndpoint.encode(entry).finish(), original, "the given endpoint has been changed");
    }),
    { numRuns: 1_000 },
  );
});

test("a refresh shares what has not changed", () => {
  const decoded = () =>
    NetworkServiceEndpoint.decode(
      NetworkServiceEndpoint.encode(
        NetworkServiceEndpoint.fromPartial({
          name: "e",
          network_service_names: ["s"],
          network_service_labels: { s: { labels: { a: "b" } } },
          initial_registration_time: { seconds: 1, nanos: 2 },
        }),
      ).finish(),
    );
  const first = compactEndpoint(decoded(), undefined);
  const second = compactEndpoint(decoded(), first);
  assert.equal(second.network_service_names, first.network_service_names);
  assert.equal(second.network_service_labels, first.network_service_labels);
  assert.equal(second.initial_registration_time, first.initial_registration_time);
});

test("an interner forgets what it has not seen for long", () => {
  const shared = createInterner(2);
  assert.equal(shared("a"), "a");
  for (let i = 0; i < 10; i++) assert.equal(shared(`${i}`), `${i}`);
  assert.equal(shared("a"), "a");
});
