import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startRegistry } from "../../registry/main.js";
import { registryConfig } from "../../registry/test-registry.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { createPolicies } from "../../sdk/policies/policies.js";
import { defaultMasks, type PolicyMasks } from "../../sdk/policies/settings.js";
import { formatPathHeader, parsePathHeader, pathHeader } from "../../sdk/registry/path-header.js";
import { Code } from "../../sdk/status.js";
import { createLog, silentLog } from "../../sdk/telemetry/log.js";
import { testAuthority, testIdentity } from "../../sdk/testing/identities.js";
import { createDialer, type RemoteRegistry } from "../../sdk/transport/dial.js";
import { startTrustedMesh } from "./mesh.js";

const denied = { code: Code.PERMISSION_DENIED };
const entry = NetworkServiceEndpoint.fromPartial({ name: "e", network_service_names: ["s"], url: "tcp://127.0.0.1:9" });

test("row 8.5: who registers accepts an answer whose whole path has vouched, at a registry and through a manager", async (t) => {
  const mesh = await startTrustedMesh(t);
  const alice = await mesh.workload("/alice");
  const policies = await policiesWith(t, {}, []);
  for (const url of [mesh.registryUrl, mesh.urls[0]]) {
    const registry = policies.ofRegistry(alice.dialer.endpointRegistry(url));
    const call = { signal: mesh.signal };
    await registry.register({ ...entry, name: `at ${url}` }, call);
    const again = await registry.register({ ...entry, name: `at ${url}` }, call);
    await registry.unregister(again, call);
  }
  assert.deepEqual(mesh.audit, []);
});

const forgeries: { why: string; forge: (tokens: string[]) => string[] | undefined; reason: RegExp }[] = [
  { why: "no path at all", forge: () => undefined, reason: /no segment/ },
  { why: "a path without the registry's token", forge: (tokens) => tokens.slice(0, 1), reason: /no segment 1/ },
  { why: "an empty token of the registry", forge: ([own = ""]) => [own, ""], reason: /.*/ },
  { why: "tokens that do not chain", forge: ([own = "", next = ""]) => [next, own], reason: /do not chain|not signed/ },
];
for (const { why, forge, reason } of forgeries) {
  test(`row 8.5: an answer with ${why} is refused, and the registration is taken back`, async (t) => {
    const registry = await start(t);
    const lines: string[] = [];
    const policies = await policiesWith(t, {}, lines);
    const forging = policies.ofRegistry(answering(registry.remote, forge));
    await assert.rejects(forging.register(entry, registry.call), denied);
    assert.equal(lines.length, 1, "one line of audit");
    assert.match(lines[0] ?? "", reason);
    assert.doesNotMatch(lines[0] ?? "", /eyJ/, "no token in the log");
    assert.deepEqual(await registry.names(), []);
  });
}

test("NSM_REGISTRY_CLIENT_POLICIES: without policies any answer will do; a renewal in the middle of the call costs nothing", async (t) => {
  const registry = await start(t);
  const none = await policiesWith(t, { registryClient: [] }, []);
  await none.ofRegistry(answering(registry.remote, () => undefined)).register(entry, registry.call);
  const lines: string[] = [];
  const policies = await policiesWith(t, {}, lines);
  let isFirst = true;
  const renewing = answering(registry.remote, (tokens) => {
    const told = isFirst ? tokens.slice(0, 1) : tokens;
    isFirst = false;
    return told;
  });
  await policies.ofRegistry(renewing).register(entry, registry.call);
  assert.deepEqual(lines, []);
  assert.deepEqual(await registry.names(), ["e"]);
});

async function policiesWith(t: TestContext, masks: Partial<PolicyMasks>, lines: string[]) {
  const log = createLog({ name: "test", level: "warn", destination: { write: (line: string) => lines.push(line) } });
  const policies = await createPolicies({ masks: { ...defaultMasks, ...masks }, log });
  t.after(() => policies.close());
  return policies;
}

/** The registry, with another path in its answers. */
function answering<T>(remote: RemoteRegistry<T>, forge: (tokens: string[]) => string[] | undefined): RemoteRegistry<T> {
  return {
    ...remote,
    register: (one, call) =>
      remote.register(one, {
        ...call,
        onHeader(name, value) {
          if (name !== pathHeader) return call.onHeader?.(name, value);
          const { index, tokens } = parsePathHeader([value]) ?? { index: 0, tokens: [] };
          const told = forge([...tokens]);
          if (told !== undefined) call.onHeader?.(name, formatPathHeader({ index, tokens: told }));
        },
      }),
  };
}

async function start(t: TestContext) {
  const authority = await testAuthority();
  const running = await startRegistry(registryConfig({}), {
    log: silentLog,
    identity: await testIdentity(authority, "/registry"),
    signal: new AbortController().signal,
  });
  t.after(() => running.stop());
  const dialer = createDialer({ dialTimeoutMs: 5_000, identity: await testIdentity(authority, "/alice") });
  t.after(() => dialer.close());
  const remote = dialer.endpointRegistry(running.urls[0] ?? "");
  const { signal } = new AbortController();
  return {
    remote,
    call: { signal },
    async names(): Promise<string[]> {
      const names: string[] = [];
      for await (const { entry: one } of remote.find(NetworkServiceEndpoint.fromPartial({}), { watch: false, signal }))
        names.push(one.name);
      return names;
    },
  };
}
