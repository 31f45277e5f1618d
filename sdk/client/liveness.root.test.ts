import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../gen/connection.js";
import { addAddress } from "../linux/netlink/addresses.js";
import { parsePrefix } from "../linux/netlink/ip-address.js";
import { createVeth, getLink, setLink } from "../linux/netlink/links.js";
import { randomMac } from "../linux/netlink/mac-address.js";
import { openNetlinkSocket } from "../linux/netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, openNetns } from "../linux/netns.js";
import { echoLiveness } from "./liveness.js";

const sides = [
  { name: `wt-live-a-${process.pid}`, addresses: ["10.66.0.1/30", "fd66::1/64"] },
  { name: `wt-live-b-${process.pid}`, addresses: ["10.66.0.2/30", "fd66::2/64"] },
];

test("row 7.7: every pair of addresses must answer, in IPv4 and IPv6, from the connection's own namespace", async (t) => {
  t.after(() => sides.forEach(({ name }) => void deleteNamedNetns(name)));
  const handles = sides.map(({ name }) => {
    createNamedNetns(name);
    return openNetns(name);
  });
  const [a, b] = handles;
  assert.ok(a && b);
  const sockets = handles.map((handle) => openNetlinkSocket(handle));
  t.after(() => {
    for (const socket of sockets) socket.close();
    for (const handle of handles) handle.close();
  });
  const end = (netns: typeof a) => ({ netns, name: "wt-live", macAddress: randomMac(), mtuBytes: 1_500 });
  sockets[0]?.perform([createVeth(end(a), end(b))]);
  for (const [index, { addresses }] of sides.entries()) {
    const socket = sockets[index];
    const link = socket && getLink(socket, "wt-live");
    assert.ok(socket && link);
    socket.perform([
      ...addresses.map((address) => addAddress(link.index, parsePrefix(address))),
      setLink(link.index, { up: true }),
    ]);
  }
  const connection = Connection.fromPartial({
    mechanism: { type: "KERNEL" },
    context: { ip_context: { src_ip_addrs: ["10.66.0.1/30", "fd66::1/64"], dst_ip_addrs: ["10.66.0.2/30", "fd66::2/64"] } },
  });
  const netnsUrl = `file:///run/netns/${sides[0]?.name}`;
  const check = (timeoutMs: number) =>
    echoLiveness(connection, { netnsUrl, intervalMs: 20, timeoutMs, signal: new AbortController().signal });
  assert.equal(await check(5_000), true);
  const other = sockets[1];
  const link = other && getLink(other, "wt-live");
  assert.ok(other && link);
  other.perform([setLink(link.index, { up: false })]);
  assert.equal(await check(100), false);
});
