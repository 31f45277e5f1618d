import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "../sdk/status.js";
import { chooseTunnelAddress, localAddresses, tunnelAddressOf } from "./tunnel-address.js";

const local = [
  { interfaceName: "eth0", address: "fd00::5" },
  { interfaceName: "eth0", address: "10.0.0.5" },
  { interfaceName: "eth1", address: "198.18.0.7" },
];

const cases: [setting: string, address: string][] = [
  ["10.0.0.5", "10.0.0.5"],
  ["198.18.0.0/15", "198.18.0.7"],
  ["198.18.0.7/15", "198.18.0.7"],
  ["198.18.9.9/15", "198.18.0.7"],
  ["fd00::/8", "fd00::5"],
  ["fd00:0::5", "fd00::5"],
  ["", "10.0.0.5"],
];
for (const [setting, address] of cases) {
  test(`row 1.22: tunnels start at ${address} for NSM_TUNNEL_IP=${setting}`, () => {
    assert.equal(chooseTunnelAddress(setting, local), address);
  });
}

test("row 1.22: an address that the machine lacks is refused with those it has", () => {
  for (const setting of ["10.0.0.6", "172.16.0.0/12", "eth0"]) {
    assert.throws(() => chooseTunnelAddress(setting, local), { code: Code.FAILED_PRECONDITION, details: /NSM_TUNNEL_IP/ });
  }
  assert.throws(() => chooseTunnelAddress("10.0.0.6", local), { details: /198\.18\.0\.7 \(eth1\)/ });
  assert.throws(() => chooseTunnelAddress("", []), { code: Code.FAILED_PRECONDITION });
});

test("row 1.22: loopback is taken when it is asked for", () => {
  assert.equal(tunnelAddressOf("127.0.0.1", "kernel", { warn() {} }), "127.0.0.1");
  assert.equal(tunnelAddressOf("127.0.0.0/8", "kernel", { warn() {} }), "127.0.0.1");
});

test("a data plane that builds nothing takes any address", () => {
  assert.equal(tunnelAddressOf("192.0.2.7", "none", { warn() {} }), "192.0.2.7");
  assert.throws(() => tunnelAddressOf("192.0.2.7", "kernel", { warn() {} }), { code: Code.FAILED_PRECONDITION });
});

test("loopback and link-local addresses are not offered", () => {
  for (const { address } of localAddresses("reachable")) assert.doesNotMatch(address, /^(127\.|::1$|fe80:|169\.254\.)/);
});
