/** Random requests over a real mesh: whatever is sent, the answer is one to act on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Connection, MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { Code, codeName, toStatusError } from "../../sdk/status.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { startMesh } from "./mesh.js";
import { until } from "./until.js";

type Partial = Parameters<typeof NetworkServiceRequest.fromPartial>[0];

const soon = (): ReturnType<typeof timestampOf> => timestampOf(Date.now() + 60_000);
const self = { name: "client", id: "c", expires: soon() };
const good = { id: "c", network_service: "service", path: { index: 0, path_segments: [self] } };

test("whatever is sent, the answer is never INTERNAL or UNKNOWN, and the mesh stands", async (t) => {
  const mesh = await startMesh(t);
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse-1" });
  const client = mesh.dialer.connections(node.url);
  await fc.assert(
    fc.asyncProperty(anyRequest(), async (request) => {
      const call = { signal: mesh.signal, deadlineMs: Date.now() + 3_000 };
      try {
        const answer = await client.request(NetworkServiceRequest.fromPartial(request), call);
        await client.close(answer, call);
      } catch (thrown) {
        const { code, details } = toStatusError(thrown);
        assert.ok(
          code !== Code.INTERNAL && code !== Code.UNKNOWN,
          `${codeName(code)}: ${details} for ${JSON.stringify(request)}`,
        );
      }
      await client.close(NetworkServiceRequest.fromPartial(request).connection ?? good0(), call).catch((thrown: unknown) => {
        const { code, details } = toStatusError(thrown);
        assert.ok(code !== Code.INTERNAL && code !== Code.UNKNOWN, `Close ${codeName(code)}: ${details}`);
      });
    }),
    { numRuns: 150, endOnFailure: true },
  );
  const selector = MonitorScopeSelector.fromPartial({
    path_segments: [{ id: "hasOwnProperty" }],
    network_services: ["constructor"],
  });
  const events = mesh.dialer.monitor(node.url, selector, mesh.signal)[Symbol.asyncIterator]();
  assert.deepEqual((await events.next()).value?.connections, {});
  await until("nothing is left", async () => (await node.connections()).length === 0 && endpoint.connections.length === 0);
  await mesh.request("n1", { service: "service" });
});

function good0(): Connection {
  const connection = NetworkServiceRequest.fromPartial({ connection: good }).connection;
  assert.ok(connection);
  return connection;
}

/** Requests that are right in most places and odd in some. */
function anyRequest(): fc.Arbitrary<NonNullable<Partial>> {
  const odd = fc.constantFrom(
    "",
    "constructor",
    "hasOwnProperty",
    "toString",
    "\u0000",
    "é".repeat(40),
    "{{.x}}",
    "a/b",
    "-1",
    "9".repeat(30),
  );
  const text = fc.oneof(odd, fc.string({ maxLength: 20 }));
  const often = (usual: string): fc.Arbitrary<string> =>
    fc.oneof({ weight: 3, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: text });
  const labels = fc.dictionary(
    text.filter((key) => key !== "__proto__"),
    text,
    { maxKeys: 4 },
  );
  const cidr = fc.oneof(fc.constantFrom("10.0.0.1/32", "::/0", "10.0.0.0/33", "fd00::1/64", "0.0.0.0/0"), text);
  const segment = fc.record({
    name: often("client"),
    id: often("c"),
    expires: fc.constantFrom(soon(), timestampOf(0), undefined),
  });
  const mechanism = fc.record({
    cls: often("LOCAL"),
    type: fc.oneof(fc.constantFrom("KERNEL", "NOOP", "VXLAN", "MEMIF"), text),
    parameters: fc.oneof(fc.constant({ inodeURL: "file:///proc/self/ns/net", name: "nsm-1" }), labels),
  });
  return fc.record({
    connection: fc.record({
      id: often("c"),
      network_service: often("service"),
      network_service_endpoint_name: fc.oneof(fc.constant(""), fc.constant("nse-1"), text),
      payload: fc.constantFrom("", "ETHERNET", "IP", "x"),
      state: fc.constantFrom(0, 1, 2, 3),
      labels,
      path: fc.record({
        index: fc.constantFrom(0, 0, 0, 1, 4_000_000_000),
        path_segments: fc.oneof(fc.constant([self]), fc.array(segment, { maxLength: 4 })),
      }),
      context: fc.record({
        ip_context: fc.record({
          src_ip_addrs: fc.array(cidr, { maxLength: 2 }),
          dst_ip_addrs: fc.array(cidr, { maxLength: 2 }),
          excluded_prefixes: fc.array(cidr, { maxLength: 3 }),
          src_routes: fc.array(fc.record({ prefix: cidr, nextHop: text }), { maxLength: 2 }),
        }),
      }),
    }),
    mechanism_preferences: fc.array(mechanism, { maxLength: 3 }),
  }) as fc.Arbitrary<NonNullable<Partial>>;
}
