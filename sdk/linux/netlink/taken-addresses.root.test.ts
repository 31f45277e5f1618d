import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../../testing/until.js";
import { openNewNetns } from "../netns.js";
import { addAddress, deleteAddress } from "./addresses.js";
import { formatAddress, parsePrefix } from "./ip-address.js";
import * as links from "./links.js";
import { randomMac } from "./mac-address.js";
import { listTakenAddresses } from "./routes.js";
import { openNetlinkSocket } from "./socket.js";

test("addresses: those for which an interface takes packets, of this interface alone, and when the kernel's worker has come", async (t) => {
  const netns = openNewNetns();
  const socket = openNetlinkSocket(netns);
  t.after(() => {
    socket.close();
    netns.close();
  });
  const end = (name: string): links.VethEnd => ({ netns, name, macAddress: randomMac(), mtuBytes: 1500 });
  socket.perform([links.createVeth(end("one"), end("two"))]);
  const index = links.getLink(socket, "one")?.index ?? 0;
  const loopback = links.getLink(socket, "lo")?.index ?? 0;
  const taken = (link: number) => listTakenAddresses(socket, link).map(formatAddress);
  assert.deepEqual(taken(index).includes("fd04::1"), false);
  socket.perform([
    links.setLink(loopback, { up: true }),
    addAddress(index, parsePrefix("fd04::1/128")),
    addAddress(loopback, parsePrefix("fd04::2/64")),
    addAddress(index, parsePrefix("10.4.0.1/32")),
  ]);
  await until("the worker", () => taken(index).includes("fd04::1") && taken(loopback).includes("fd04::2"));
  assert.equal(taken(index).includes("fd04::2") || taken(loopback).includes("fd04::1"), false);
  socket.perform([deleteAddress(index, parsePrefix("fd04::1/128"))]);
  assert.equal(taken(index).includes("fd04::1"), false);
});
