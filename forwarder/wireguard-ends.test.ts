import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import fc from "fast-check";
import { Code } from "../sdk/status.js";
import { createWireguardEnds, isNext, publicKeyOf } from "./wireguard-ends.js";

const free = async () => true;
const base64 = (hex: string): string => Buffer.from(hex, "hex").toString("base64");

test("a public key belongs to its private key as RFC 7748, section 6.1, says", () => {
  assert.equal(publicKeyOf("AA=="), undefined);
  const alicePrivate = base64("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  const alicePublic = base64("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  assert.equal(publicKeyOf(alicePrivate), alicePublic);
});

test("an end is kept until it is released, and has a key and a port of its own", async () => {
  const ends = createWireguardEnds(51_820, free);
  const [one, other] = await Promise.all([ends.hold("one"), ends.hold("other")]);
  assert.deepEqual([one.listenPort, other.listenPort], [51_820, 51_821]);
  assert.notEqual(one.publicKey, other.publicKey);
  assert.equal(publicKeyOf(one.privateKey), one.publicKey);
  assert.equal(await ends.hold("one"), one);
  ends.release("one");
  assert.equal(ends.held("one"), undefined);
  const again = await ends.hold("one");
  assert.equal(again.listenPort, 51_820);
  assert.notEqual(again.privateKey, one.privateKey);
});

test("ports of strangers are left out; when none is left it is refused with what to do", async (t) => {
  const stranger = createSocket("udp6");
  t.after(() => stranger.close());
  stranger.bind(0);
  await once(stranger, "listening");
  const { port } = stranger.address();
  const { listenPort } = await createWireguardEnds(port).hold("one");
  assert.ok(listenPort > port);
  const full = createWireguardEnds(65_534, free);
  await full.hold("one");
  await full.hold("two");
  await assert.rejects(full.hold("three"), { code: Code.RESOURCE_EXHAUSTED, details: /WEFT_WIREGUARD_PORT/ });
});

test("what a ledger says is taken over; what is no key is not", async () => {
  await fc.assert(
    fc.asyncProperty(fc.base64String({ maxLength: 64 }), async (text) => {
      const ends = createWireguardEnds(51_820, free);
      const { privateKey, publicKey } = await ends.hold("first");
      ends.release("first");
      const rest = { remotePort: 51_900, remotePublicKey: "theirs", madeAtMs: 7 };
      ends.restore("kept", { privateKey, listenPort: 51_820, ...rest });
      assert.deepEqual(ends.held("kept")?.main, { privateKey, publicKey, listenPort: 51_820, madeAtMs: 7 });
      assert.deepEqual(ends.held("kept")?.remote, { publicKey: "theirs", port: 51_900 });
      ends.restore("odd", { privateKey: text, listenPort: 51_821, ...rest });
      assert.equal(ends.held("odd") !== undefined, Buffer.from(text, "base64").length === 32);
      assert.notEqual((await ends.hold("next")).listenPort, 51_820);
    }),
    { numRuns: 50 },
  );
});

test("row 8.7: a second end stands beside with a key and a port of its own, changes places and is given back", async () => {
  let now = 1_000;
  const ends = createWireguardEnds(51_820, free, () => now);
  const first = await ends.hold("one");
  now = 2_000;
  const second = await ends.prepare("one", { publicKey: "theirs", port: 9 });
  assert.deepEqual(await ends.prepare("one"), second, "made once");
  assert.equal(second.listenPort, 51_821);
  assert.notEqual(second.privateKey, first.privateKey);
  const before = ends.held("one");
  assert.ok(before && isNext(before));
  ends.promote("one");
  const after = ends.held("one");
  assert.ok(after && !isNext(after));
  assert.equal(after.main.privateKey, second.privateKey);
  assert.deepEqual(after.remote, { publicKey: "theirs", port: 9 });
  assert.equal(after.beside?.privateKey, first.privateKey);
  ends.dropBeside("one");
  assert.equal((await ends.hold("two")).listenPort, 51_820, "the old port is free again");
  ends.release("one");
  assert.equal((await ends.hold("three")).listenPort, 51_821);
  await assert.rejects(ends.prepare("one"), { code: Code.ABORTED });
  assert.equal((await ends.hold("four")).listenPort, 51_822, "nothing is kept for a connection that was closed");
});
