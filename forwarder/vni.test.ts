import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Code } from "../sdk/status.js";
import { createVniPool, vniIsEven } from "./vni.js";

const side = (srcIp: string, dstIp: string, orig: { origSrcIp?: string; origDstIp?: string } = {}) =>
  vniIsEven({ srcIp, dstIp, origSrcIp: orig.origSrcIp, origDstIp: orig.origDstIp });

test("two nodes that are server for each other choose from different halves", () => {
  assert.equal(side("10.0.0.1", "10.0.0.2"), true);
  assert.equal(side("10.0.0.2", "10.0.0.1"), false);
  assert.equal(side("10.0.0.9", "10.0.0.10"), true, "compared as numbers, not as text");
  assert.equal(side("fd00::1", "fd00::2"), true);
  assert.equal(side("fd00::2", "fd00::1"), false);
});

test("addresses before translation count, even when they are empty", () => {
  assert.equal(side("10.0.0.2", "10.0.0.1", { origSrcIp: "10.0.0.0" }), true);
  assert.equal(side("10.0.0.1", "10.0.0.2", { origDstIp: "9.0.0.0" }), false);
  assert.equal(side("10.0.0.2", "10.0.0.1", { origSrcIp: "" }), true);
  assert.equal(side("10.0.0.1", "10.0.0.2", { origDstIp: "" }), false);
});

test("a number is never 0, never in use, of the right half, and unique on its port", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), fc.constantFrom(4789, 8472)), { maxLength: 60 }),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999_999, noNaN: true })),
      (asked, numbers) => {
        const pool = createVniPool(() => numbers.next().value);
        const foreign = [1, 2, 3, 4, 5, 6];
        for (const vni of foreign) for (const udpPort of [4789, 8472]) pool.avoid(udpPort, vni);
        const seen = new Set<string>();
        asked.forEach(([even, udpPort], index) => {
          const vni = pool.allocate({ owner: `c${index}`, udpPort, even });
          assert.ok(vni > 0 && vni < 2 ** 24 && vni % 2 === (even ? 0 : 1) && !foreign.includes(vni));
          assert.ok(!seen.has(`${udpPort}/${vni}`));
          seen.add(`${udpPort}/${vni}`);
        });
      },
    ),
  );
});

test("chance that always gives the same number still finds free ones", () => {
  const pool = createVniPool(() => 0);
  const vnis = Array.from({ length: 5 }, (_, i) => pool.allocate({ owner: `c${i}`, udpPort: 1, even: true }));
  assert.deepEqual(vnis, [2, 4, 6, 8, 10]);
});

test("a connection keeps its number until it is released", () => {
  const pool = createVniPool(Math.random);
  const vni = pool.allocate({ owner: "a", udpPort: 4789, even: true });
  assert.equal(pool.allocate({ owner: "a", udpPort: 4789, even: true }), vni);
  assert.equal(pool.claim({ owner: "b", udpPort: 4789, vni }), false);
  assert.equal(pool.claim({ owner: "b", udpPort: 8472, vni }), true, "another port is another space");
  assert.equal(pool.claim({ owner: "a", udpPort: 4789, vni }), true);
  pool.release("a");
  assert.equal(pool.held("a", 4789), undefined);
  assert.equal(pool.claim({ owner: "b", udpPort: 4789, vni }), true);
});

test("a claim of another number gives the first one back", () => {
  const pool = createVniPool(Math.random);
  assert.equal(pool.claim({ owner: "a", udpPort: 4789, vni: 7 }), true);
  assert.equal(pool.claim({ owner: "a", udpPort: 4789, vni: 9 }), true);
  assert.equal(pool.claim({ owner: "b", udpPort: 4789, vni: 7 }), true);
});

test("no number left is RESOURCE_EXHAUSTED", () => {
  const pool = createVniPool(Math.random, 255);
  for (let vni = 1; vni <= 255; vni += 2) assert.equal(pool.claim({ owner: `c${vni}`, udpPort: 4789, vni }), true);
  assert.throws(() => pool.allocate({ owner: "a", udpPort: 4789, even: false }), {
    code: Code.RESOURCE_EXHAUSTED,
    details: /odd/,
  });
});

test("a number that a connection here holds does not count as a stranger's", () => {
  const pool = createVniPool(Math.random);
  assert.equal(pool.claim({ owner: "a", udpPort: 4789, vni: 7 }), true);
  pool.avoid(4789, 7);
  assert.equal(pool.claim({ owner: "a", udpPort: 4789, vni: 7 }), true);
  pool.release("a");
  assert.equal(pool.claim({ owner: "b", udpPort: 4789, vni: 7 }), true);
  pool.avoid(4789, 8);
  assert.equal(pool.claim({ owner: "a", udpPort: 4789, vni: 8 }), false);
});
