import assert from "node:assert/strict";
import type { NetworkInterfaceInfo } from "node:os";
import { test } from "node:test";
import { bracketIpv6, publicUrl } from "./public-url.js";

const interfaces = {
  lo: [v4("127.0.0.1", true)],
  eth1: [v6("fe80::1", 2), v6("fd00::7", 0)],
  eth0: [v4("10.1.2.3", false)],
};
const onlyV6 = { lo: [v4("127.0.0.1", true)], eth1: [v6("fe80::1", 2), v6("fd00::7", 0)] };

const cases = [
  { listen: ["unix:///a", "tcp://10.9.9.9:5001"], on: interfaces, url: "tcp://10.9.9.9:5001" },
  { listen: ["unix:///a", "tcp://:5001"], on: interfaces, url: "tcp://10.1.2.3:5001" },
  { listen: ["tcp://0.0.0.0:5001"], on: interfaces, url: "tcp://10.1.2.3:5001" },
  { listen: ["tcp://[::]:5001"], on: onlyV6, url: "tcp://[fd00::7]:5001" },
  { listen: ["tcp://fd00::1:5001"], on: interfaces, url: "tcp://[fd00::1]:5001" },
  { listen: ["tcp://:5001"], on: {}, url: "tcp://127.0.0.1:5001" },
  { listen: ["unix:///a", "unix:///b"], on: interfaces, url: "unix:///a" },
];
for (const { listen, on, url } of cases) {
  test(`listening on ${listen} the public URL is ${url}`, () => assert.equal(publicUrl(listen, on), url));
}

test("an IPv6 address gets brackets once", () => {
  assert.equal(bracketIpv6("tcp://fd00::1:5001"), "tcp://[fd00::1]:5001");
  assert.equal(bracketIpv6("tcp://[fd00::1]:5001"), "tcp://[fd00::1]:5001");
  assert.equal(bracketIpv6("tcp://node:5001"), "tcp://node:5001");
  assert.equal(bracketIpv6("unix:///a:b"), "unix:///a:b");
});

function v4(address: string, internal: boolean): NetworkInterfaceInfo {
  return { address, internal, family: "IPv4", netmask: "", mac: "", cidr: null };
}
function v6(address: string, scopeid: number): NetworkInterfaceInfo {
  return { address, internal: false, family: "IPv6", netmask: "", mac: "", cidr: null, scopeid };
}
