import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startRegistry } from "../../registry/main.js";
import { registryConfig } from "../../registry/test-registry.js";
import type { Found } from "../../sdk/api.js";
import { type NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code } from "../../sdk/status.js";
import { createLog } from "../../sdk/telemetry/log.js";
import { testAuthority, testIdentity } from "../../sdk/testing/identities.js";
import { until } from "../../sdk/testing/until.js";
import { createDialer } from "../../sdk/transport/dial.js";

const denied = { code: Code.PERMISSION_DENIED, details: "no sufficient privileges" };
const nse = (more: Partial<NetworkServiceEndpoint> = {}) =>
  NetworkServiceEndpoint.fromPartial({ name: "nse", network_service_names: ["s"], url: "tcp://127.0.0.1:9", ...more });
const path = (tokens: readonly string[], index = 0) => ({
  path: JSON.stringify({ Index: index, PathSegments: tokens.map((token) => ({ token })) }),
});

test("row 3.8: another identity can neither overwrite nor remove an entry, and its owner can do both", async (t) => {
  const registry = await start(t);
  const [owner, thief] = [await registry.as("/owner"), await registry.as("/thief")];
  await owner.endpoints.register(nse(), owner.call);
  await assert.rejects(thief.endpoints.register(nse({ url: "tcp://127.0.0.1:6" }), thief.call), denied);
  await assert.rejects(thief.endpoints.unregister(nse(), thief.call), denied);
  assert.deepEqual(await registry.found(owner), ["tcp://127.0.0.1:9"]);
  assert.equal(registry.audit.length, 2, "a line each");
  await owner.endpoints.register(nse({ url: "tcp://127.0.0.1:8" }), owner.call);
  await owner.endpoints.unregister(nse(), owner.call);
  assert.deepEqual(await registry.found(owner), []);
});

test("row 8.5: a path that begins with another's token is refused: nobody registers in another's name", async (t) => {
  const registry = await start(t);
  const [owner, thief] = [await registry.as("/owner"), await registry.as("/thief")];
  const ownersToken = await registry.tokenOf(owner);
  // as if the thief were a manager through which the owner registers
  const forged = { ...thief.call, metadata: path([ownersToken, ""], 1) };
  await assert.rejects(thief.endpoints.register(nse(), forged), denied);
  assert.match(registry.audit[0] ?? "", /do not chain/);
});

test("row 8.5 (upstream flaw: a name stays taken until the registry restarts): after its lease a name is free for others", async (t) => {
  const registry = await start(t, 400);
  const [owner, next] = [await registry.as("/owner"), await registry.as("/next")];
  await owner.endpoints.register(nse(), owner.call);
  await assert.rejects(next.endpoints.register(nse(), next.call), denied);
  await until("the name is free", async () => {
    try {
      await next.endpoints.register(nse(), next.call);
      return true;
    } catch {
      return false;
    }
  });
});

test("row 8.5: replicas of an endpoint may each register the same service; another may not change it", async (t) => {
  const registry = await start(t);
  const [one, two] = [await registry.as("/one"), await registry.as("/two")];
  const service = { name: "s", payload: "ETHERNET", matches: [], path_ids: [] } satisfies Partial<NetworkService>;
  await one.services.register(service as NetworkService, one.call);
  await two.services.register(service as NetworkService, two.call);
  await assert.rejects(two.services.register({ ...service, payload: "IP" } as NetworkService, two.call), denied);
});

test("a quota of entries holds for each identity on its own", async (t) => {
  const registry = await start(t, 60_000, 3);
  const [one, two] = [await registry.as("/one"), await registry.as("/two")];
  for (const name of ["a", "b", "c"]) await one.endpoints.register(nse({ name }), one.call);
  await assert.rejects(one.endpoints.register(nse({ name: "d" }), one.call), { code: Code.RESOURCE_EXHAUSTED });
  await one.endpoints.register(nse({ name: "a" }), one.call);
  await two.endpoints.register(nse({ name: "d" }), two.call);
  await one.endpoints.unregister(nse({ name: "a" }), one.call);
  await one.endpoints.register(nse({ name: "e" }), one.call);
});

async function start(t: TestContext, leasePeriodMs = 60_000, tenantQuota = 0) {
  const audit: string[] = [];
  const destination = { write: (line: string) => line.includes('"audit"') && audit.push(line) };
  const authority = await testAuthority();
  const running = await startRegistry(registryConfig({ leasePeriodMs, tenantQuota }), {
    log: createLog({ name: "registry", level: "warn", destination }),
    identity: await testIdentity(authority, "/registry"),
    signal: new AbortController().signal,
  });
  t.after(() => running.stop());
  const url = running.urls[0] ?? "";
  const { signal } = new AbortController();
  const as = async (name: string) => {
    const identity = await testIdentity(authority, name);
    const dialer = createDialer({ dialTimeoutMs: 5_000, identity });
    t.after(() => dialer.close());
    return {
      identity,
      endpoints: dialer.endpointRegistry(url),
      services: dialer.serviceRegistry(url),
      call: { signal, metadata: path([]) },
    };
  };
  type Somebody = Awaited<ReturnType<typeof as>>;
  return {
    audit,
    as,
    /** The token that somebody's calls to the registry carry, as the registry learns it. */
    async tokenOf({ identity, endpoints, call }: Somebody): Promise<string> {
      let token = "";
      const onPeer: NonNullable<Parameters<typeof endpoints.register>[1]["onPeer"]> = (peer) => {
        token = identity.tokenFor(peer, identity.current()).token;
      };
      await endpoints.unregister(nse({ name: "none" }), { ...call, onPeer });
      return token;
    },
    async found({ endpoints }: Somebody): Promise<string[]> {
      const urls: string[] = [];
      const all: AsyncIterable<Found<NetworkServiceEndpoint>> = endpoints.find(nse({ url: "" }), { watch: false, signal });
      for await (const { entry } of all) urls.push(entry.url);
      return urls;
    },
  };
}
