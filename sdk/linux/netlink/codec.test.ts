import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeAddress } from "./addresses.js";
import * as codec from "./codec.js";
import { decodeLinkEvent } from "./link-events.js";
import { decodeLink } from "./links.js";
import { decodeNeighbor } from "./neighbors.js";
import { decodeRoute } from "./routes.js";
import { decodeRule } from "./rules.js";

const body = fc.uint8Array({ maxLength: 200 });

test("messages survive the way there and back", () => {
  const message = fc.record({ type: fc.nat(0xffff), flags: fc.nat(0xffff), body });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 10 }), fc.nat(1_000_000), (messages, first) => {
      const decoded = codec.decodeMessages(codec.encodeMessages(messages, first));
      assert.deepEqual(
        decoded.map((each) => ({ ...each, body: Uint8Array.from(each.body) })),
        messages.map((each, index) => ({ ...each, sequence: first + index })),
      );
    }),
  );
});

test("attributes survive the way there and back, nested ones too", () => {
  const types = fc.uniqueArray(fc.tuple(fc.nat(0x3fff), body), { selector: ([type]) => type, maxLength: 8 });
  fc.assert(
    fc.property(types, (entries) => {
      const bytes = Buffer.concat(entries.map(([type, value]) => codec.attribute(type, value)));
      const nested = codec.decodeAttributes(codec.nested(7, bytes)).get(7);
      assert.ok(nested);
      const decoded = codec.decodeAttributes(nested);
      assert.equal(decoded.size, entries.length);
      for (const [type, value] of entries) assert.deepEqual(Uint8Array.from(decoded.get(type) ?? []), value);
    }),
  );
});

/** Every reader of bytes from the kernel. */
const decoders: Readonly<Record<string, (bytes: Buffer) => unknown>> = {
  messages: codec.decodeMessages,
  attributes: codec.decodeAttributes,
  acknowledgement: (bytes) => codec.decodeAcknowledgement({ type: 2, flags: codec.NLM_F_ACK_TLVS, sequence: 1, body: bytes }),
  "capped acknowledgement": (bytes) => codec.decodeAcknowledgement({ type: 2, flags: 0x300, sequence: 1, body: bytes }),
  "end of a dump": (bytes) => codec.decodeAcknowledgement({ type: 3, flags: 0x200, sequence: 1, body: bytes }),
  link: decodeLink,
  "link event": (bytes) => decodeLinkEvent({ type: 16, flags: 0, sequence: 0, body: bytes }),
  address: decodeAddress,
  route: decodeRoute,
  rule: decodeRule,
  neighbor: decodeNeighbor,
};
for (const [name, decode] of Object.entries(decoders)) {
  test(`random bytes: ${name} is read or refused as malformed, in bounded time`, () => {
    const wellFormed = fc.array(fc.tuple(fc.nat(60), body), { maxLength: 12 }).map((entries) => {
      const header = Buffer.alloc(16, 2);
      return Buffer.concat([header, ...entries.map(([type, value]) => codec.attribute(type, value))]);
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), wellFormed), (bytes) => {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          assert.match((error as Error).message, /^netlink: /);
        }
      }),
      { numRuns: 500 },
    );
  });
}

test("a length of zero does not loop for ever", () => {
  assert.throws(() => codec.decodeMessages(Buffer.alloc(64)), /netlink: message of 0 bytes/);
  assert.throws(() => codec.decodeAttributes(Buffer.alloc(64)), /netlink: attribute of 0 bytes/);
});

test("the kernel's words for a refusal are found behind a capped request", () => {
  const bytes = Buffer.concat([Buffer.alloc(4), Buffer.alloc(16), codec.text(1, "no such thing")]);
  bytes.writeInt32LE(-17, 0);
  const message = { type: 2, flags: codec.NLM_F_ACK_TLVS | codec.NLM_F_CAPPED, sequence: 1, body: bytes };
  assert.deepEqual(codec.decodeAcknowledgement(message), { errnoNumber: 17, text: "no such thing" });
});
