import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isStatusError } from "../../status.js";
import { formatAddress, formatPrefix, networkOf, parseAddress, parsePrefix } from "./ip-address.js";
import { formatMac, parseMac, randomMac } from "./mac-address.js";

const forms = [
  { text: "10.0.0.1", is: "10.0.0.1" },
  { text: "::", is: "::" },
  { text: "::1", is: "::1" },
  { text: "2001:DB8:0:0:1:0:0:1", is: "2001:db8::1:0:0:1" },
  { text: "::ffff:1.2.3.4", is: "::ffff:102:304" },
  { text: "1:0:2:0:3:0:4:0", is: "1:0:2:0:3:0:4:0" },
  { text: "fe80::", is: "fe80::" },
];
for (const { text, is } of forms) test(`${text} is written ${is}`, () => assert.equal(formatAddress(parseAddress(text)), is));

test("addresses survive the way there and back", () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const address = parseAddress(text);
      assert.deepEqual(parseAddress(formatAddress(address)), address);
    }),
  );
});

test("any text is a prefix or refused by status", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.tuple(fc.ipV4(), fc.integer({ min: -5, max: 200 })).map(([ip, n]) => `${ip}/${n}`),
      ),
      (text) => {
        try {
          assert.ok(parsePrefix(text).length <= 128);
        } catch (error) {
          assert.ok(isStatusError(error) && error.code === 3);
        }
      },
    ),
  );
});

const networks = [
  { text: "10.1.2.3/8", is: "10.0.0.0/8" },
  { text: "10.1.2.3/32", is: "10.1.2.3/32" },
  { text: "10.1.2.3/0", is: "0.0.0.0/0" },
  { text: "10.1.255.3/23", is: "10.1.254.0/23" },
  { text: "fd00:1234::1/16", is: "fd00::/16" },
  { text: "10.1.2.3", is: "10.1.2.3/32" },
];
for (const { text, is } of networks)
  test(`network of ${text} is ${is}`, () => assert.equal(formatPrefix(networkOf(parsePrefix(text))), is));

test("random hardware addresses are local, unicast and readable", () => {
  for (let round = 0; round < 200; round++) {
    const mac = randomMac();
    assert.equal((parseMac(mac)[0] ?? 0) & 3, 2);
    assert.equal(formatMac(parseMac(mac)), mac);
  }
});
for (const text of ["", "01:00:5e:00:00:01", "00:00:00:00:00:00", "aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:fg", "aabbccddeeff"]) {
  test(`no hardware address: ${JSON.stringify(text)}`, () => assert.throws(() => parseMac(text), { code: 3 }));
}
