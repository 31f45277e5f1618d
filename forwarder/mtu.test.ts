import assert from "node:assert/strict";
import { test } from "node:test";
import { lowestMtuBytes, tunnelMtuBytes } from "./mtu.js";

test("row 1.24: MTU = MTU of the underlay − overhead of the tunnel and of its address family", () => {
  assert.equal(tunnelMtuBytes("VXLAN", 1500, "198.18.0.1"), 1446);
  assert.equal(tunnelMtuBytes("VXLAN", 1500, "fd00::1"), 1426);
  assert.equal(tunnelMtuBytes("WIREGUARD", 1500, "198.18.0.1"), 1440);
  assert.equal(tunnelMtuBytes("IPSEC", 9000, "fd00::1"), 8899);
  assert.equal(tunnelMtuBytes("NOOP", 1500, "198.18.0.1"), 1500);
});

test("the least opinion wins; 0 and undefined are none", () => {
  assert.equal(lowestMtuBytes(0, undefined, 1446, 9000), 1446);
  assert.equal(lowestMtuBytes(undefined, 0), undefined);
});
