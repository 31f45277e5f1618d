import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { checksum, icmpEcho, isReply } from "./icmp-echo.js";
import { addAddress } from "./netlink/addresses.js";
import { parsePrefix } from "./netlink/ip-address.js";
import { createVeth, getLink, setLink } from "./netlink/links.js";
import { randomMac } from "./netlink/mac-address.js";
import { openNetlinkSocket } from "./netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, openNetns } from "./netns.js";

const signal = new AbortController().signal;

for (const { family, source, destination, nobody } of [
  { family: "IPv4", source: "10.9.0.1", destination: "10.9.0.2", nobody: "10.9.0.3" },
  { family: "IPv6", source: "fd09::1", destination: "fd09::2", nobody: "fd09::3" },
]) {
  test(`${family}: a living neighbour answers, a missing one does not, and no descriptor stays`, async (t) => {
    const netnsUrl = pair(t);
    const before = readdirSync("/proc/self/fd").length;
    const answer = await icmpEcho({ netnsUrl, source, destination, timeoutMs: 10_000, signal });
    assert.ok(answer !== undefined && answer.rttMs >= 0);
    assert.equal(await icmpEcho({ netnsUrl, source, destination: nobody, timeoutMs: 100, signal }), undefined);
    assert.equal(
      await icmpEcho({ netnsUrl, source: nobody, destination, timeoutMs: 100, signal }),
      undefined,
      "a source that is not ours",
    );
    // one of the test's own files may have been open at the beginning
    const after = readdirSync("/proc/self/fd").length;
    assert.ok(after <= before, `${after} descriptors, ${before} before`);
  });
}

test("an answer that came in time counts also when the event loop looks too late", async (t) => {
  const options = { netnsUrl: pair(t), source: "10.9.0.1", destination: "10.9.0.2", signal };
  assert.ok(await icmpEcho({ ...options, timeoutMs: 10_000 }), "the neighbour is known from now on");
  const answer = icmpEcho({ ...options, timeoutMs: 50 });
  const untilMs = performance.now() + 100;
  while (performance.now() < untilMs);
  assert.ok((await answer) !== undefined);
});

test("an abort ends the wait", async (t) => {
  const controller = new AbortController();
  const waiting = icmpEcho({
    netnsUrl: pair(t),
    source: "",
    destination: "10.9.0.3",
    timeoutMs: 60_000,
    signal: controller.signal,
  });
  controller.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
});

test("bad addresses and namespaces are refused by status", async () => {
  await assert.rejects(icmpEcho({ source: "", destination: "x", timeoutMs: 1, signal }), { code: 3 });
  await assert.rejects(icmpEcho({ netnsUrl: "wt-none", source: "", destination: "10.9.0.1", timeoutMs: 1, signal }), { code: 5 });
});

test("only an echo reply with our token counts", () => {
  const token = Buffer.from("0123456789abcdef");
  const reply = Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 0]), token]);
  assert.ok(isReply(reply, token, false));
  assert.ok(isReply(Buffer.concat([Buffer.from([0x45]), Buffer.alloc(19), reply]), token, true));
  assert.ok(!isReply(Buffer.concat([Buffer.from([8]), reply.subarray(1)]), token, false), "a request");
  for (let length = 0; length < reply.length; length++) assert.ok(!isReply(reply.subarray(0, length), token, length % 2 === 0));
});

test("the checksum of a packet that carries its checksum is zero", () => {
  const packet = Buffer.from("0800000012340001abcdefff", "hex");
  packet.writeUInt16BE(checksum(packet), 2);
  assert.equal(checksum(packet), 0);
});

/** A namespace with 10.9.0.1 and fd09::1, joined to another with .2 and ::2. */
function pair(t: TestContext): string {
  const names = [`wt-echo-${process.pid}-a`, `wt-echo-${process.pid}-b`] as const;
  const [a, b] = names.map((name) => {
    createNamedNetns(name);
    t.after(() => deleteNamedNetns(name));
    return openNetns(name);
  });
  assert.ok(a && b);
  const socketA = openNetlinkSocket(a);
  const socketB = openNetlinkSocket(b);
  const end = { macAddress: "", mtuBytes: 1500, name: "wt0" };
  socketA.perform([createVeth({ ...end, netns: a, macAddress: randomMac() }, { ...end, netns: b, macAddress: randomMac() })]);
  for (const [socket, host] of [
    [socketA, 1],
    [socketB, 2],
  ] as const) {
    const index = getLink(socket, "wt0")?.index ?? 0;
    const addresses = [`10.9.0.${host}/24`, `fd09::${host}/64`].map((text) => addAddress(index, parsePrefix(text)));
    socket.perform([setLink(index, { up: true }), ...addresses]);
    socket.close();
  }
  a.close();
  b.close();
  return names[0];
}
