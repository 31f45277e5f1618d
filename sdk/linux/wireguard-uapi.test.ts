import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeConfiguration, errorNumberOf, sendConfiguration } from "./wireguard-uapi.js";

const wanted = {
  privateKey: Buffer.alloc(32, 1).toString("base64"),
  listenPort: 51_820,
  peerPublicKey: Buffer.alloc(32, 2).toString("base64"),
  peerAddress: "198.18.0.2",
  peerPort: 51_821,
  keepaliveSeconds: 10,
};

test("a configuration is written as the protocol wants it", () => {
  assert.deepEqual(encodeConfiguration(wanted).split("\n"), [
    "set=1",
    `private_key=${"01".repeat(32)}`,
    "listen_port=51820",
    "replace_peers=true",
    `public_key=${"02".repeat(32)}`,
    "endpoint=198.18.0.2:51821",
    "persistent_keepalive_interval=10",
    "replace_allowed_ips=true",
    "allowed_ip=0.0.0.0/0",
    "allowed_ip=::/0",
    "",
    "",
  ]);
  assert.match(encodeConfiguration({ ...wanted, peerAddress: "2001:db8::2" }), /^endpoint=\[2001:db8::2\]:51821$/m);
});

test("an answer gives its error number, and any other text none", () => {
  assert.equal(errorNumberOf("errno=0\n\n"), 0);
  assert.equal(errorNumberOf("listen_port=1\nerrno=-98\n\n"), 98);
  fc.assert(fc.property(fc.string(), (text) => errorNumberOf(text) === undefined || /^errno=-?\d+$/m.test(text)));
});

test("a device that is not there is an error without a key in its text", async () => {
  await assert.rejects(sendConfiguration("/nonexistent/wt.sock", encodeConfiguration(wanted)), (error: Error) => {
    assert.match(error.message, /ENOENT/);
    assert.doesNotMatch(error.message, /0101|AQEB/);
    return true;
  });
});
