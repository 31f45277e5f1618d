import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { NetworkServiceRequest } from "../gen/networkservice.js";
import { Code, isStatusError } from "../status.js";
import { startEndpoint, startRegistry, temporaryFolder } from "../testing/endpoint-mesh.js";
import { timestampOf } from "../timestamp.js";

test("bad input: whatever a stranger sends is answered or refused as his fault, and leaves nothing", async (t) => {
  const mesh = await startRegistry(t);
  const endpoint = await startEndpoint(t, mesh, { cidrs: ["10.0.0.0/28", "fd00::/124"] });
  const caller = mesh.dialer.connections(endpoint.url);
  await fc.assert(
    fc.asyncProperty(request(), async (fields) => {
      const message = NetworkServiceRequest.fromPartial(fields);
      try {
        const connection = await caller.request(message, { signal: t.signal });
        await caller.close(connection, { signal: t.signal });
      } catch (error) {
        assert.ok(isStatusError(error), String(error));
        const theirs: number[] = [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.RESOURCE_EXHAUSTED];
        assert.ok(theirs.includes(error.code), `${error.code}: ${error.details}`);
      }
    }),
    { numRuns: 400 },
  );
  assert.equal(endpoint.connections.length, 0);
  // The whole pool is free again: eight pairs.
  for (let index = 0; index < 8; index++) await mesh.request(endpoint, { id: `after-${index}` });
  await assert.rejects(mesh.request(endpoint, { id: "after-8" }), { code: Code.RESOURCE_EXHAUSTED });
});

test("bad input: a state folder that cannot be written costs the memory, not the connection", async (t) => {
  const mesh = await startRegistry(t);
  const stateDir = join(temporaryFolder(t), "state");
  mkdirSync(stateDir);
  const endpoint = await startEndpoint(t, mesh, { stateDir });
  rmSync(stateDir, { recursive: true });
  writeFileSync(stateDir, "a file where the folder was");
  const answer = await mesh.request(endpoint, { id: "c1" });
  await mesh.dialer.connections(endpoint.url).close(answer, { signal: t.signal });
  assert.equal(endpoint.connections.length, 0);
});

function request(): fc.Arbitrary<object> {
  const key = fc.constantFrom("name", "inodeURL", "__proto__", "constructor", "toString", "unnumbered", "");
  const map = fc.array(fc.tuple(key, fc.string({ maxLength: 20 })), { maxLength: 3 }).map((pairs) => new Map(pairs));
  const parameters = map.map((pairs) => Object.fromEntries(pairs));
  const mechanism = fc.record({
    cls: fc.constantFrom("LOCAL", ""),
    type: fc.constantFrom("KERNEL", "NOOP", "MEMIF", ""),
    parameters,
  });
  const address = fc.oneof(
    fc.constantFrom("10.0.0.1/32", "10.0.0.300", "fd00::1/128", "::/0", "0.0.0.0/0", "%", "10.0.0.0/33", ""),
    fc.string({ maxLength: 8 }),
  );
  const addresses = fc.array(address, { maxLength: 3 });
  const route = fc.record({ prefix: address, nextHop: address });
  const ip_context = fc.record(
    {
      src_ip_addrs: addresses,
      dst_ip_addrs: addresses,
      excluded_prefixes: addresses,
      src_routes: fc.array(route, { maxLength: 2 }),
      policies: fc.array(fc.record({ from: address, proto: fc.string({ maxLength: 3 }) }), { maxLength: 2 }),
    },
    { requiredKeys: [] },
  );
  const id = fc.constantFrom("a", "b", "", "../../etc/passwd", "__proto__");
  const expires = fc.constantFrom(undefined, timestampOf(0), timestampOf(Date.now() + 600_000), { seconds: 2 ** 52, nanos: -1 });
  const segment = fc.record({ name: fc.constantFrom("client", "nse-1", ""), id, expires });
  const path = fc.record({ index: fc.constantFrom(0, 1, 2, 4_294_967_295), path_segments: fc.array(segment, { maxLength: 3 }) });
  const connection = fc.record(
    {
      id,
      network_service: fc.constantFrom("svc", "svc@domain", "", "other"),
      mechanism,
      context: fc.record({ ip_context }),
      labels: parameters,
      path,
      payload: fc.constantFrom("ETHERNET", "", "X"),
      state: fc.constantFrom(0, 1, 3, 99),
    },
    { requiredKeys: ["id"] },
  );
  return fc.record({ connection, mechanism_preferences: fc.array(mechanism, { maxLength: 2 }) }, { requiredKeys: [] });
}
