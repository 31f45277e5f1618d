import assert from "node:assert/strict";
import { test } from "node:test";
import { grownMtuBytes, lowestMtuBytes, pathTunnelMtuBytes, tunnelMtuBytes } from "./mtu.js";

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

test("row 1.24: a connection that lives grows to what was seen to pass on both sides, and to what was wished for", () => {
  assert.equal(grownMtuBytes(1350, 1450, [1450, 65_535]), 1450);
  assert.equal(grownMtuBytes(1350, 1450, [1450, 1400]), 1400);
  assert.equal(grownMtuBytes(1350, 1450, [undefined, 1450]), 1350, "one side has seen nothing");
  assert.equal(grownMtuBytes(1350, 1380, [1450, 1450]), 1380);
  assert.equal(grownMtuBytes(1350, 1450, [1300]), 1350, "what was seen is no reason to shrink: that is for the limits");
});

test("row 1.24: what wireguard-go fills up fits too where a path carries less than its link", () => {
  assert.equal(pathTunnelMtuBytes("WIREGUARD", 1400, 1500, "198.18.0.1"), 1328);
  assert.equal(pathTunnelMtuBytes("WIREGUARD", 1400, 1400, "198.18.0.1"), 1340);
  assert.equal(pathTunnelMtuBytes("VXLAN", 1400, 1500, "198.18.0.1"), 1346);
});
