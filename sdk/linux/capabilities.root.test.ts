import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { probeMachine } from "./capabilities.js";
import { listLinks } from "./netlink/links.js";
import { openNetlinkSocket } from "./netlink/socket.js";
import { findWireguardGo } from "./wireguard-go.js";
import { probeWireguard } from "./wireguard-probe.js";

test("what was tried out works here, and the trials leave nothing behind", async () => {
  const socket = openNetlinkSocket();
  try {
    const links = () => listLinks(socket).map(({ name }) => name);
    const descriptors = () => readdirSync("/proc/self/fd").length;
    const before = { links: links(), descriptors: descriptors() };
    const found = await probeMachine();
    for (const name of ["namespaces", "veth", "vxlan", "ipv6", "policy-rules", "neighbors"]) {
      const capability = found.find((each) => each.name === name);
      assert.equal(capability?.supported, "yes", `${name}: ${capability?.detail}`);
    }
    assert.deepEqual(links(), before.links);
    // The test runner closes some of its own meanwhile.
    assert.ok(descriptors() <= before.descriptors, `${descriptors()} descriptors, ${before.descriptors} before`);
  } finally {
    socket.close();
  }
});

test("every line says how it was found out, and what is missing how to get it", async () => {
  for (const { name, supported, detail } of await probeMachine()) {
    assert.ok(detail.length > 10, `${name}: ${detail}`);
    if (supported === "no") assert.match(detail, /;|free/, name);
  }
});

test("row 8.7: without wireguard-go the line says how to get it; with it, a trial leaves no process and no socket", async (t) => {
  const missing = await probeWireguard(() => undefined);
  assert.equal(missing.supported, "no");
  assert.match(missing.detail, /apt-get install wireguard-go/);
  const sockets = () => (existsSync("/var/run/wireguard") ? readdirSync("/var/run/wireguard").length : 0);
  const before = sockets();
  const found = await probeWireguard();
  assert.equal(sockets(), before);
  if (found.supported === "no") {
    assert.match(found.detail, /;/);
    const tun = (await probeMachine()).find(({ name }) => name === "tun");
    if (findWireguardGo() === undefined || tun?.supported === "no") return t.skip(found.detail);
  }
  assert.equal(found.supported, "yes", found.detail);
});
