import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatAddress, hostPrefix, mergeRanges, parseAddress, parsePrefix, rangeOf } from "./ip.js";

test("an address keeps its value through text, and the text is the canonical one", () => {
  const v4 = fc.bigInt(0n, 2n ** 32n - 1n).map((value) => ({ family: 4 as const, value }));
  const v6 = fc.bigInt(0n, 2n ** 128n - 1n).map((value) => ({ family: 6 as const, value }));
  fc.assert(
    fc.property(fc.oneof(v4, v6), (address) => {
      const text = formatAddress(address);
      assert.deepEqual(parseAddress(text), address);
      // The URL standard writes IPv6 hosts by RFC 5952 too: an independent opinion.
      if (address.family === 6) assert.equal(`[${text}]`, new URL(`http://[${text}]/`).hostname);
    }),
  );
});

test("mixed and upper-case IPv6 spellings are read", () => {
  assert.equal(formatAddress(parseAddress("2001:DB8::A") ?? assert.fail()), "2001:db8::a");
  assert.equal(parseAddress("::ffff:1.2.3.4")?.value, 0xffff01020304n);
  assert.equal(parseAddress("::")?.value, 0n);
});

for (const text of [
  "",
  "10.0.0.0/33",
  "::/129",
  "10.0.0/8",
  "fe80::1%eth0",
  "10.0.0.0/",
  "10.0.0.0/08",
  "a/8",
  "1.2.3.4/-1",
  "/8",
]) {
  test(`not a prefix: ${JSON.stringify(text)}`, () => assert.equal(parsePrefix(text), undefined));
}

test("any text is read or refused, never thrown on", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.ipV4(), fc.ipV6()), (text) => void parsePrefix(text)));
});

test("a prefix covers its addresses, host bits do not matter", () => {
  const range = rangeOf(parsePrefix("10.1.2.3/30") ?? assert.fail());
  assert.equal(hostPrefix({ family: 4, value: range.first }), "10.1.2.0/32");
  assert.equal(hostPrefix({ family: 4, value: range.last }), "10.1.2.3/32");
});

test("merged ranges hold the same values, sorted and apart", () => {
  const range = fc.tuple(fc.nat(60), fc.nat(10)).map(([first, size]) => ({ first: BigInt(first), last: BigInt(first + size) }));
  fc.assert(
    fc.property(fc.array(range), (ranges) => {
      const merged = mergeRanges(ranges);
      for (let value = 0n; value < 75n; value++) {
        const isIn = (list: typeof ranges): boolean => list.some(({ first, last }) => first <= value && value <= last);
        assert.equal(isIn(merged), isIn(ranges));
      }
      for (let index = 1; index < merged.length; index++) {
        assert.ok((merged[index - 1]?.last ?? 0n) + 1n < (merged[index]?.first ?? 0n));
      }
    }),
  );
});
