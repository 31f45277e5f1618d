import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AF_INET, AF_INET6 } from "../libc.js";
import * as codec from "./codec.js";
import { decodeFamily, genericRequest } from "./generic.js";
import { formatAddress, formatPrefix, type IpPrefix, parsePrefix } from "./ip-address.js";
import { decodeWireguard, encodePeer, setWireguard } from "./wireguard.js";

const key = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .filter((bytes) => bytes.some((byte) => byte !== 0))
  .map((bytes) => Buffer.from(bytes).toString("base64"));
const port = fc.integer({ min: 1, max: 65_535 });
const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ({ family: AF_INET, bytes }) as const);
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => ({ family: AF_INET6, bytes }) as const);
const address = fc.oneof(v4, v6).map(formatAddress);
const prefix = fc.oneof(fc.tuple(v4, fc.nat(32)), fc.tuple(v6, fc.nat(128))).map(([ip, length]): IpPrefix => ({ ...ip, length }));
const peer = fc.record(
  {
    publicKey: key,
    endpoint: fc.option(fc.record({ address, port }, { noNullPrototype: true }), { nil: undefined }),
    keepaliveSeconds: fc.nat(65_535),
    allowedIps: fc.array(prefix, { maxLength: 5 }),
  },
  { noNullPrototype: true },
);

test("peers survive the way there and back", () => {
  fc.assert(
    fc.property(fc.array(peer, { maxLength: 4 }), (peers) => {
      const body = Buffer.concat([Buffer.alloc(4), codec.nested(8, ...peers.map(encodePeer))]);
      const read = decodeWireguard(body).peers.map(({ publicKey, endpoint, keepaliveSeconds, allowedIps }) => ({
        ...{ publicKey, endpoint, keepaliveSeconds },
        allowedIps: allowedIps.map(formatPrefix),
      }));
      const wanted = peers.map((each) => ({ ...each, allowedIps: each.allowedIps.map(formatPrefix) }));
      assert.deepEqual(read, wanted);
    }),
  );
});

test("a configuration says which keys, port, peer and addresses, and that it replaces what was there", () => {
  const configuration = fc.record({
    privateKey: key,
    listenPort: port,
    peerPublicKey: key,
    peerAddress: address,
    peerPort: port,
    keepaliveSeconds: fc.nat(65_535),
  });
  fc.assert(
    fc.property(fc.nat(0x7fffffff), configuration, (index, wanted) => {
      const { body, type, verb } = setWireguard(31, index, wanted);
      assert.deepEqual([type, body[0], body[1]], [31, 1, 1]);
      const attributes = codec.decodeAttributes(Buffer.from(body), 4);
      assert.equal(attributes.get(3)?.toString("base64"), wanted.privateKey);
      assert.equal(codec.readUnsigned(attributes.get(5)), 1, "peers are replaced");
      const device = decodeWireguard(Buffer.from(body));
      assert.deepEqual([device.index, device.listenPort], [index, wanted.listenPort]);
      const [only, ...others] = device.peers;
      assert.deepEqual(others, []);
      assert.equal(only?.publicKey, wanted.peerPublicKey);
      assert.deepEqual(only?.endpoint, { address: wanted.peerAddress, port: wanted.peerPort });
      assert.deepEqual(
        only?.allowedIps.map(formatPrefix),
        ["0.0.0.0/0", "::/0"].map((text) => formatPrefix(parsePrefix(text))),
      );
      for (const secret of [wanted.privateKey, Buffer.from(wanted.privateKey, "base64").toString("hex")]) {
        assert.ok(!verb.includes(secret), "the words for errors have no key");
      }
    }),
  );
});

test("what the kernel answers is read: the layout of linux/wireguard.h, byte for byte", () => {
  const hex = [
    "00010000", // genlmsghdr: WG_CMD_GET_DEVICE, version 1
    "0600060050ca0000", // LISTEN_PORT 51792, u16 and its padding
    "0800010005000000", // IFINDEX 5
    "08000200776730", // IFNAME "wg0" with its closing zero
    "00",
    `24000400${"aa".repeat(32)}`, // PUBLIC_KEY
    "94000880", // PEERS, nested, 148 bytes
    "90000080", // the only one of them
    `24000100${"bb".repeat(32)}`, // PUBLIC_KEY
    "14000600e80300000000000000e1f50500000000", // LAST_HANDSHAKE_TIME 1000 s 100000000 ns
    "060005000a000000", // PERSISTENT_KEEPALIVE_INTERVAL 10
    "0c0008000700000000000000", // TX_BYTES 7
    "0c0007000900000000000000", // RX_BYTES 9
    "14000400", // ENDPOINT: sockaddr_in of 198.18.0.2 port 51820
    "0200ca6cc6120002",
    "0000000000000000",
    "20000980", // ALLOWEDIPS
    "1c000080",
    "0600010002000000", // FAMILY 2
    "080002000a000000", // IPADDR 10.0.0.0
    "0500030008000000", // CIDR_MASK 8
  ].join("");
  const bytes = Buffer.from(hex, "hex");
  assert.deepEqual(decodeWireguard(bytes), {
    index: 5,
    name: "wg0",
    listenPort: 0xca50,
    publicKey: Buffer.alloc(32, 0xaa).toString("base64"),
    peers: [
      {
        publicKey: Buffer.alloc(32, 0xbb).toString("base64"),
        endpoint: { address: "198.18.0.2", port: 51_820 },
        keepaliveSeconds: 10,
        lastHandshakeMs: 1_000_100,
        rxBytes: 9n,
        txBytes: 7n,
        allowedIps: [parsePrefix("10.0.0.0/8")],
      },
    ],
  });
});

test("bytes that follow no format are refused or read as nothing, and never crash", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const decode of [decodeWireguard, decodeFamily]) {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          assert.match(String(error), /netlink: /);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a generic request begins with command and version", () => {
  const { body, type } = genericRequest({ family: 16, command: 3, version: 2, verb: "x", attributes: [codec.text(2, "nlctrl")] });
  assert.equal(type, 16);
  assert.equal(Buffer.from(body).toString("hex"), `030200000b000200${Buffer.from("nlctrl\0").toString("hex")}00`);
});
