import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createUrlIndex } from "./url-index.js";

test("an index finds what a search through all urls finds, after any additions and removals", () => {
  const url = fc.stringMatching(/^(tcp|unix|x)?(:\/\/)?[12.:]{0,4}(:\/\/)?[12]{0,2}$/);
  const step = fc.record({ url, value: fc.nat(5), add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.array(url, { maxLength: 10 }), (steps, parts) => {
      const index = createUrlIndex<number>();
      const model = new Map<string, Set<number>>();
      for (const { url, value, add } of steps) {
        if (add) {
          index.add(url, value);
          model.set(url, (model.get(url) ?? new Set()).add(value));
        } else {
          index.remove(url, value);
          model.get(url)?.delete(value);
        }
      }
      for (const part of parts) {
        const expected = [...model].filter(([url, values]) => url.includes(part) && values.size > 0);
        const flat = (sets: Iterable<ReadonlySet<number>>) => [...sets].map((set) => [...set].sort().join()).sort();
        assert.deepEqual(flat(index.find(part)), flat(expected.map(([, values]) => values)));
      }
    }),
    { numRuns: 1_000 },
  );
});

test("thousands of urls in any order are found by their beginning, none is left behind", () => {
  const index = createUrlIndex<string>();
  const urls = Array.from({ length: 5_000 }, (_, i) => `tcp://10.${(i * 7_919) % 256}.${i >> 8}.${i & 255}:5001`);
  for (const url of urls) index.add(url, url);
  for (const url of urls)
    assert.deepEqual(
      [...index.find(url)].map((set) => [...set]),
      [[url]],
    );
  assert.equal([...index.find("tcp://10.")].length, urls.length);
  for (const url of urls) index.remove(url, url);
  assert.equal([...index.find("tcp://")].length, 0);
  assert.equal([...index.find("")].length, 0);
});
