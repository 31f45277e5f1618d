import assert from "node:assert/strict";
import { test } from "node:test";
import { addAddress } from "./netlink/addresses.js";
import { parsePrefix } from "./netlink/ip-address.js";
import { createVeth, getLink, setLink } from "./netlink/links.js";
import { openNetlinkSocket } from "./netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, openNetns } from "./netns.js";
import { measurePathMtu } from "./path-mtu.js";

const signal = new AbortController().signal;

test("rows 1.24, 7.7: a path that silently drops large packets is measured, IPv4 and IPv6; what does not answer says nothing", async (t) => {
  const names = ["a", "b"].map((hint) => `wt-mtu-${process.pid}-${hint}`);
  const places = names.map((name) => {
    createNamedNetns(name);
    const netns = openNetns(name);
    const socket = openNetlinkSocket(netns);
    t.after(() => {
      socket.close();
      netns.close();
      deleteNamedNetns(name);
    });
    return { netns, socket };
  });
  const [one, two] = places;
  assert.ok(one && two);
  const end = (place: typeof one, last: number) => ({
    netns: place.netns,
    name: "wire",
    macAddress: `02:00:00:00:00:0${last}`,
    mtuBytes: 9000,
  });
  one.socket.perform([createVeth(end(one, 1), end(two, 2))]);
  for (const [index, { socket }] of places.entries()) {
    const link = getLink(socket, "wire");
    assert.ok(link);
    const addresses = [`198.18.5.${index + 1}/24`, `fd00:5::${index + 1}/64`].map((text) =>
      addAddress(link.index, parsePrefix(text)),
    );
    socket.perform([setLink(link.index, { up: true }), ...addresses]);
  }
  const measure = (destination: string, source: string) =>
    measurePathMtu({
      netnsUrl: `file:///run/netns/${names[0]}`,
      source,
      destination,
      linkMtuBytes: 9000,
      timeoutMs: 1_000,
      signal,
    });
  const both = () => Promise.all([measure("198.18.5.2", "198.18.5.1"), measure("fd00:5::2", "fd00:5::1")]);
  assert.deepEqual(await both(), [9000, 9000]);
  // The far end of a veth drops what is larger than its own MTU without a word, as a misconfigured switch does.
  for (const mtuBytes of [1500, 1400]) {
    two.socket.perform([setLink(getLink(two.socket, "wire")?.index ?? 0, { mtuBytes })]);
    assert.deepEqual(await both(), [mtuBytes, mtuBytes]);
  }
  assert.equal(await measure("198.18.5.9", "198.18.5.1"), undefined);
});
