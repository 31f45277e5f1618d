import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { IPContext } from "../../gen/connectioncontext.js";
import { hostPrefix, inRange, parsePrefix, rangeOf } from "../../ip.js";
import { Code, isStatusError } from "../../status.js";
import { type CidrGroups, prefixGroups } from "./groups.js";
import type { Ipam, IpamPolicy } from "./ipam.js";
import { pointToPoint } from "./point-to-point.js";
import { singlePoint } from "./single-point.js";

test("row 4.1: the endpoint's address is taken first, then the client's, each with a route at the other end", () => {
  const context = pool("172.16.1.100/31").assign("c1", ip({}));
  assert.deepEqual(context.dst_ip_addrs, ["172.16.1.100/32"]);
  assert.deepEqual(context.src_ip_addrs, ["172.16.1.101/32"]);
  assert.deepEqual(context.src_routes.map(plain), [{ prefix: "172.16.1.100/32", nextHop: "" }]);
  assert.deepEqual(context.dst_routes.map(plain), [{ prefix: "172.16.1.101/32", nextHop: "" }]);
});

test("row 4.1: a refresh gets the same context, a closed connection's addresses are given out again", () => {
  const ipam = pool("10.0.0.0/30");
  const first = ipam.assign("c1", ip({}));
  assert.deepEqual(ipam.assign("c1", first), first);
  assert.deepEqual(ipam.assign("c1", ip({})), first);
  assert.deepEqual(ipam.assign("c2", ip({})).src_ip_addrs, ["10.0.0.3/32"]);
  assert.throws(() => ipam.assign("c3", ip({})), { code: Code.RESOURCE_EXHAUSTED });
  ipam.release("c1");
  ipam.release("c1");
  assert.deepEqual(ipam.assign("c3", ip({})), first);
});

test("row 4.1: addresses shown in a re-request are recovered if free, after a restart of the endpoint", () => {
  const before = pool("10.0.0.0/24");
  before.assign("c1", ip({}));
  const second = before.assign("c2", ip({}));
  const after = pool("10.0.0.0/24");
  assert.deepEqual(after.assign("c2", second), second);
  const newcomer = after.assign("c3", ip({}));
  assert.deepEqual(newcomer.src_ip_addrs, ["10.0.0.1/32"]);
});

test("addresses shown by one connection and held by another are not shared", () => {
  const ipam = pool("10.0.0.0/24");
  const first = ipam.assign("c1", ip({}));
  const second = ipam.assign("c2", first);
  assert.deepEqual(second.src_ip_addrs, ["10.0.0.3/32"]);
  assert.deepEqual(second.dst_ip_addrs, ["10.0.0.2/32"]);
  assert.deepEqual(second.src_routes.map(plain), [{ prefix: "10.0.0.2/32", nextHop: "" }]);
});

test("leases restored before the first request are nobody else's", () => {
  const before = pool("10.0.0.0/24", ["fd00::/120"]);
  const first = before.assign("c1", ip({}));
  const after = pool("10.0.0.0/24", ["fd00::/120"]);
  for (const [id, leases] of before.leases()) after.restore(id, leases);
  assert.notDeepEqual(after.assign("c2", ip({})).src_ip_addrs, first.src_ip_addrs);
  assert.deepEqual(after.assign("c1", ip({})), first);
});

test("row 4.2: one pair from each group, v4 and v6; a second pool of a group is used when the first is empty", () => {
  const ipam = pool(["10.0.0.0/31", "10.9.0.0/31"], "fd00::/64");
  const first = ipam.assign("c1", ip({}));
  assert.deepEqual(first.src_ip_addrs, ["10.0.0.1/32", "fd00::1/128"]);
  assert.deepEqual(first.dst_ip_addrs, ["10.0.0.0/32", "fd00::/128"]);
  assert.deepEqual(ipam.assign("c2", ip({})).src_ip_addrs, ["10.9.0.1/32", "fd00::3/128"]);
  assert.throws(() => ipam.assign("c3", ip({})), /no address left in 10.0.0.0\/31, 10.9.0.0\/31 for connection c3/);
});

test("row 4.2: single point gives one address with the pool's mask and keeps network and broadcast back", () => {
  const ipam = singlePoint(prefixGroups(["172.10.0.0/30", "100:200::/64"]));
  const context = ipam.assign("c1", ip({}));
  assert.deepEqual(context.src_ip_addrs, ["172.10.0.1/30", "100:200::1/64"]);
  assert.deepEqual(context.dst_ip_addrs, []);
  assert.deepEqual(ipam.assign("c1", context), context);
  assert.deepEqual(ipam.assign("c2", ip({})).src_ip_addrs, ["172.10.0.2/30", "100:200::2/64"]);
  assert.throws(() => ipam.assign("c3", ip({})), { code: Code.RESOURCE_EXHAUSTED });
});

test("row 4.3: polite leaves foreign addresses, strict replaces them and their routes", () => {
  const foreign = ip({
    src_ip_addrs: ["192.168.9.1/32"],
    dst_ip_addrs: ["192.168.9.0/32"],
    src_routes: [{ prefix: "192.168.0.0/16", nextHop: "" }],
    excluded_prefixes: ["10.0.0.0/32"],
  });
  assert.deepEqual(pool("10.0.0.0/24").assign("c1", foreign).src_ip_addrs, ["192.168.9.1/32", "10.0.0.2/32"]);
  const strict = policyPool("strict", "10.0.0.0/24").assign("c1", foreign);
  assert.deepEqual(strict.src_ip_addrs, ["10.0.0.2/32"]);
  assert.deepEqual(strict.src_routes.map(plain), [{ prefix: "10.0.0.1/32", nextHop: "" }]);
  assert.deepEqual(strict.excluded_prefixes, ["10.0.0.0/32"]);
});

test("row 4.4: excluded prefixes are avoided; addresses excluded later are replaced, with their routes", () => {
  const ipam = pool("10.0.0.0/24");
  const first = ipam.assign("c1", ip({ excluded_prefixes: ["10.0.0.0/25"] }));
  assert.deepEqual(first.dst_ip_addrs, ["10.0.0.128/32"]);
  const moved = ipam.assign("c1", { ...first, excluded_prefixes: ["10.0.0.128/32"] });
  assert.deepEqual(moved.dst_ip_addrs, ["10.0.0.0/32"]);
  assert.deepEqual(moved.src_ip_addrs, ["10.0.0.1/32"]);
  assert.deepEqual(moved.src_routes.map(plain), [{ prefix: "10.0.0.0/32", nextHop: "" }]);
  assert.throws(() => ipam.assign("c2", ip({ excluded_prefixes: ["0.0.0.0/0"] })), /exclude less/);
});

test("row 4.5: a second service with the same pool skips the addresses that the first one took", () => {
  const first = pool("10.0.0.0/24").assign("c1", ip({}));
  const taken = [...first.src_ip_addrs, ...first.dst_ip_addrs];
  const second = pool("10.0.0.0/24").assign("c1-b", ip({ excluded_prefixes: taken }));
  assert.deepEqual([...second.dst_ip_addrs, ...second.src_ip_addrs], ["10.0.0.2/32", "10.0.0.3/32"]);
});

test("nothing is taken when one group is empty", () => {
  const ipam = pool("10.0.0.0/30", "10.1.0.0/31");
  ipam.assign("c1", ip({}));
  assert.throws(() => ipam.assign("c2", ip({})), { code: Code.RESOURCE_EXHAUSTED });
  ipam.release("c1");
  assert.deepEqual(ipam.assign("c2", ip({})).src_ip_addrs, ["10.0.0.1/32", "10.1.0.1/32"]);
});

for (const field of ["src_ip_addrs", "dst_ip_addrs", "excluded_prefixes"] as const) {
  test(`a malformed value in ${field} is refused by name`, () => {
    assert.throws(() => pool("10.0.0.0/24").assign("c1", ip({ [field]: ["bogus"] })), { code: Code.INVALID_ARGUMENT });
  });
}

test("an address given in another spelling or with another mask does not come twice", () => {
  const ipam = pool("fd00::/64");
  ipam.assign("c1", ip({}));
  assert.deepEqual(ipam.assign("c1", ip({ src_ip_addrs: ["FD00::1/64"] })).src_ip_addrs, ["fd00::1/128"]);
});

for (const [name, make] of [
  ["point to point", (groups: CidrGroups) => pointToPoint(prefixGroups(groups))],
  ["single point", (groups: CidrGroups) => singlePoint(prefixGroups(groups))],
] as const) {
  test(`${name}: never one address twice, whatever is asked, closed, excluded, restarted`, () => {
    fc.assert(
      fc.property(fc.array(step(), { maxLength: 40 }), (steps) => run(make, steps)),
      { numRuns: 300 },
    );
  });
}

const universe = ["10.0.0.0/29", "10.0.0.4/30", "10.0.1.0/30", "fd00::/125"];

interface Step {
  verb: "assign" | "release" | "restart";
  id: string;
  shownSrc: string[];
  shownDst: string[];
  excluded: string[];
}

function step(): fc.Arbitrary<Step> {
  const address = fc.oneof(
    fc.nat(9).map((last) => `10.0.0.${last}/32`),
    fc.nat(9).map((last) => `fd00::${last}/128`),
  );
  return fc.record({
    verb: fc.constantFrom("assign", "assign", "assign", "release", "restart"),
    id: fc.constantFrom("a", "b", "c", "d"),
    shownSrc: fc.array(address, { maxLength: 3 }),
    shownDst: fc.array(address, { maxLength: 3 }),
    excluded: fc.array(fc.constantFrom("10.0.0.0/31", "10.0.0.5", "fd00::2/127"), { maxLength: 2 }),
  });
}

function run(make: (groups: CidrGroups) => Ipam, steps: readonly Step[]): void {
  const groups: CidrGroups = [["10.0.0.0/29", "10.0.1.0/30"], "10.0.0.4/30", "fd00::/125"];
  let ipam = make(groups);
  for (const { verb, id, shownSrc, shownDst, excluded } of steps) {
    if (verb === "release") ipam.release(id);
    if (verb === "restart") {
      const before = [...ipam.leases()];
      ipam = make(groups);
      for (const [owner, leases] of before) ipam.restore(owner, leases);
      assert.deepEqual(held(ipam), before.flatMap(([, leases]) => leases.flatMap(texts)).sort());
    }
    if (verb === "assign") {
      const request = ip({ src_ip_addrs: shownSrc, dst_ip_addrs: shownDst, excluded_prefixes: excluded });
      const before = held(ipam);
      try {
        const context = ipam.assign(id, request);
        assert.deepEqual(ipam.assign(id, context), context, "not idempotent");
        const own = [...ipam.leases()].find(([owner]) => owner === id)?.[1].flatMap(texts) ?? [];
        for (const text of own) {
          assert.ok(!excluded.some((prefix) => covers(prefix, text)), `${text} is excluded`);
          assert.ok(universe.some((prefix) => covers(prefix, text)));
        }
        const shown = [...context.src_ip_addrs, ...context.dst_ip_addrs].map((text) => text.replace(/\/.*/, ""));
        for (const text of shown) {
          const inPools = universe.some((prefix) => covers(prefix, text));
          assert.ok(!inPools || own.some((mine) => mine.replace(/\/.*/, "") === text), `${text} is not its own`);
        }
      } catch (error) {
        if (!isStatusError(error)) throw error;
        assert.equal(error.code, Code.RESOURCE_EXHAUSTED);
        assert.deepEqual(held(ipam), before);
      }
    }
    const all = held(ipam);
    assert.equal(new Set(all).size, all.length, `given out twice: ${all}`);
  }
}

function held(ipam: Ipam): string[] {
  return [...ipam.leases()].flatMap(([, leases]) => leases.flatMap(texts)).sort();
}

function texts(lease: { dst: Parameters<typeof hostPrefix>[0] | undefined; src: Parameters<typeof hostPrefix>[0] }): string[] {
  return [lease.dst, lease.src].flatMap((address) => (address === undefined ? [] : hostPrefix(address)));
}

function covers(prefixText: string, text: string): boolean {
  const prefix = parsePrefix(prefixText);
  const address = parsePrefix(text);
  if (prefix === undefined || address === undefined || prefix.family !== address.family) return false;
  return inRange(address.value, rangeOf(prefix));
}

function plain(route: { prefix: string; nextHop: string }): { prefix: string; nextHop: string } {
  return { prefix: route.prefix, nextHop: route.nextHop };
}

function pool(...groups: CidrGroups): Ipam {
  return policyPool("polite", ...groups);
}

function policyPool(policy: IpamPolicy, ...groups: CidrGroups): Ipam {
  return pointToPoint(prefixGroups(groups), { policy });
}

function ip(fields: Parameters<typeof IPContext.fromPartial>[0]): IPContext {
  return IPContext.fromPartial(fields);
}
