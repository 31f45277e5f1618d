import assert from "node:assert/strict";
import { isIPv4, isIPv6 } from "node:net";
import { test } from "node:test";
import { maxNodes, nodePlan, podNetns, registryPlan } from "./plan.js";

test("every node has addresses of its own in the underlay's prefixes, and sockets of its own", () => {
  const plans = Array.from({ length: maxNodes }, (_, index) => nodePlan(index + 1));
  const all = [registryPlan, ...plans];
  assert.equal(new Set(all.map(({ address4 }) => address4)).size, all.length);
  assert.equal(new Set(all.map(({ address6 }) => address6)).size, all.length);
  for (const { address4, address6 } of all) {
    assert.ok(isIPv4(address4) && /^198\.1[89]\./.test(address4));
    assert.ok(isIPv6(address6) && address6.startsWith("fd"));
  }
  const sockets = plans.flatMap(({ nsmgr, forwarder }) => [nsmgr.socketUrl, forwarder.socketUrl]);
  assert.equal(new Set(sockets).size, sockets.length);
  // sun_path of unix(7)
  for (const url of sockets) assert.ok(url.length - "unix://".length < 108);
});

test("pod names cannot leave their folder or our prefix", () => {
  assert.equal(podNetns("web-1"), "weft-pod-web-1");
  for (const wrong of ["", "../x", "a/b", "A", "-a", "a-", "a b", "x".repeat(64)])
    assert.throws(() => podNetns(wrong), /use lower-case/);
});
