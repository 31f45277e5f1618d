import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Connection, type Mechanism } from "../sdk/gen/connection.js";
import { ConnectionContext, IPContext } from "../sdk/gen/connectioncontext.js";
import { Code, isStatusError } from "../sdk/status.js";
import { decodeRecord, encodeRecord } from "./connections.js";
import { createMesh, kernel } from "./testing/two-nodes.js";

const key = fc.oneof(
  fc.constantFrom("inodeURL", "name", "vni", "src_ip", "dst_ip", "dst_port", "MTU", "__proto__", "constructor"),
  fc.string(),
);
const value = fc.oneof(
  fc.constantFrom("", "0", "1", "2", "16777216", "-1", "198.18.0.1", "fd00::1", "file:///run/netns/wt-a", "4789", "true"),
  fc.string({ unit: "binary" }),
);
const mechanism: fc.Arbitrary<Mechanism> = fc.record(
  {
    cls: fc.constantFrom("LOCAL", "REMOTE", "", "constructor"),
    type: fc.constantFrom("KERNEL", "VXLAN", "NOOP", "MEMIF", "WIREGUARD", "toString", ""),
    parameters: fc.dictionary(key, value, { maxKeys: 5 }),
  },
  { noNullPrototype: true },
);
const prefix = fc.oneof(
  fc.ipV4().map((ip) => `${ip}/32`),
  fc.ipV6().map((ip) => `${ip}/128`),
  fc.string(),
);
const context = fc
  .record(
    {
      src_ip_addrs: fc.array(prefix, { maxLength: 3 }),
      dst_ip_addrs: fc.array(prefix, { maxLength: 3 }),
      src_routes: fc.array(fc.record({ prefix, nextHop: fc.oneof(fc.constant(""), fc.ipV4(), fc.string()) }), { maxLength: 2 }),
    },
    { noNullPrototype: true },
  )
  .chain((ip) =>
    fc
      .record(
        { MTU: fc.constantFrom(0, 1, 67, 68, 1500, 4_294_967_295), src_mac: fc.constantFrom("", "x", "02:00:00:00:00:01") },
        { noNullPrototype: true },
      )
      .map(({ MTU, src_mac }) =>
        ConnectionContext.fromPartial({ MTU, ip_context: IPContext.fromPartial(ip), ethernet_context: { src_mac, dst_mac: "" } }),
      ),
  );

test("whatever a caller asks, it gets an answer or a code to act on, and a failed request leaves nothing", async (t) => {
  const mesh = await createMesh(t);
  const asked = fc.record({
    to: fc.constantFrom("local", "remote", "nobody"),
    payload: fc.constantFrom("ETHERNET", "IP", "", "TOKEN_RING"),
    preferences: fc.array(mechanism, { maxLength: 3 }),
    agreed: fc.option(mechanism, { nil: undefined }),
    context: fc.option(context, { nil: undefined }),
  });
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(asked, fc.boolean(), async ({ to, payload, preferences, agreed, context }, sane) => {
      mesh.endpoint.context = { ip_context: IPContext.fromPartial({}) };
      const asking = { id: "client-1", payload, preferences: sane ? [...preferences, kernel()] : preferences };
      const change = (connection: Connection): Connection => ({ ...connection, mechanism: sane ? undefined : agreed, context });
      try {
        const answer = await mesh.request("a", to, { ...asking, change });
        accepted++;
        await mesh.close("a", answer);
      } catch (error) {
        assertActionable(error);
      }
      assert.equal(mesh.a.plane.built.size + mesh.b.plane.built.size, 0);
      assert.deepEqual([...mesh.endpoint.open], []);
    }),
    { numRuns: 600 },
  );
  assert.ok(accepted > 50, `${accepted} accepted`);
});

test("whatever an endpoint answers, the caller gets an answer or is told to take another one, and nothing is left", async (t) => {
  const mesh = await createMesh(t);
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.option(mechanism, { nil: undefined }),
      context,
      fc.constantFrom("local", "remote"),
      async (chosen, answered, to) => {
        mesh.endpoint.mechanism = chosen;
        mesh.endpoint.context = answered;
        try {
          const answer = await mesh.request("a", to);
          accepted++;
          await mesh.close("a", answer);
        } catch (error) {
          assertActionable(error);
        }
        assert.equal(mesh.a.plane.built.size + mesh.b.plane.built.size, 0);
        assert.deepEqual([...mesh.endpoint.open], []);
      },
    ),
    { numRuns: 600 },
  );
  assert.ok(accepted > 5, `${accepted} accepted`);
});

test("a record of the ledger comes back as it was; any other bytes are refused and not believed", () => {
  const connection = Connection.fromPartial({ id: "c", network_service: "s", labels: { a: "b" } });
  const held = {
    nextHop: { url: "unix:///é", name: "n" },
    answered: connection,
    downstream: { ...connection, id: "d" },
    wishedMtuBytes: 1400,
  };
  const record = encodeRecord(held);
  const decoded = decodeRecord({ record, generation: 7 });
  assert.deepEqual(decoded?.nextHop, held.nextHop);
  assert.equal(decoded?.answered.labels["a"], "b");
  assert.deepEqual([decoded?.downstream.id, decoded?.generation, decoded?.wishedMtuBytes], ["d", 7, 1400]);
  const { wishedMtuBytes: _, ...earlier } = held;
  const short = encodeRecord(earlier);
  assert.deepEqual(
    decodeRecord({ record: short, generation: 7 }),
    { ...decoded, wishedMtuBytes: undefined },
    "an earlier version's",
  );
  for (let length = 0; length < record.length; length++) {
    if (length === short.length) continue;
    assert.equal(decodeRecord({ record: record.subarray(0, length), generation: 1 }), undefined, `${length} bytes`);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decodeRecord({ record: bytes, generation: 1 })),
    { numRuns: 2_000 },
  );
});

/** A status that the caller can act on, with a text; never a bug of ours. */
function assertActionable(error: unknown): void {
  assert.ok(isStatusError(error), String(error));
  assert.ok(error.code !== Code.INTERNAL && error.code !== Code.UNKNOWN, `${error.code} ${error.details} ${String(error.cause)}`);
  assert.ok(error.details.length > 10, error.details);
}
