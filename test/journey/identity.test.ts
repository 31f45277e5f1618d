import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Connection, MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import { type Authority, createAuthority } from "../../sdk/identity/authority.js";
import type { Identity } from "../../sdk/identity/identity.js";
import { startIdentity } from "../../sdk/identity/start.js";
import { readClaims } from "../../sdk/identity/tokens.js";
import { serveWorkloadApi, type WorkloadApiServer } from "../../sdk/identity/workload-api-server.js";
import { ownInodeUrl } from "../../sdk/linux/netns.js";
import { Code } from "../../sdk/status.js";
import { createLog, silentLog } from "../../sdk/telemetry/log.js";
import { testIdentity } from "../../sdk/testing/identities.js";
import { temporaryFolder } from "../../sdk/testing/test-server.js";
import { until } from "../../sdk/testing/until.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { type Domain, startDomain } from "../../testing/start-domain.js";

const hourMs = 3_600_000;
const idOf = (name: string) => `spiffe://weft.test/${name}`;

interface Trust {
  readonly agents: Map<string, WorkloadApiServer>;
  identityOf(name: string): Promise<Identity>;
}

/** A Workload API for each name, so that components of one process have identities of their own. */
async function trust(t: TestContext, authority: Authority): Promise<Trust> {
  const folder = temporaryFolder(t);
  const agents = new Map<string, WorkloadApiServer>();
  const identities = new Map<string, Identity>();
  return {
    agents,
    async identityOf(name) {
      const known = identities.get(name);
      if (known !== undefined) return known;
      const url = `unix://${join(folder, `${agents.size}.sock`)}`;
      const options = { log: silentLog, signal: new AbortController().signal };
      const agent = await serveWorkloadApi({ url, authority, lifetimeMs: hourMs, idOf: () => idOf(name), ...options });
      t.after(() => agent.close());
      agents.set(name, agent);
      const identity = await startIdentity({ ...noIdentity, spiffeEndpointSocket: url }, options);
      assert.ok(identity);
      t.after(() => identity.close());
      identities.set(name, identity);
      return identity;
    },
  };
}

const noIdentity = {
  insecure: false,
  spiffeEndpointSocket: undefined,
  tlsCert: undefined,
  tlsKey: undefined,
  tlsBundle: [],
  caUrl: undefined,
  joinToken: undefined,
};

async function domainWith(t: TestContext, { identityOf }: Trust, lines: string[] = []): Promise<Domain> {
  const log = createLog({ name: "domain", level: "info", destination: { write: (line: string) => lines.push(line) } });
  const domain = await startDomain({ nodes: 2, identityOf, log });
  t.after(() => domain.stop());
  return domain;
}

const signalOf = (t: TestContext) => {
  const controller = new AbortController();
  t.after(() => controller.abort());
  return controller.signal;
};

test("rows 8.1, 8.2: a whole domain with mutual TLS: request, refresh, monitor, close; every hop vouches for the next", async (t) => {
  const lines: string[] = [];
  const rights = await trust(t, await createAuthority("weft.test", { lifetimeMs: hourMs }));
  const domain = await domainWith(t, rights, lines);
  const [near, far] = domain.nodes;
  const signal = signalOf(t);
  const endpoint = await far?.serve({ name: "nse", services: ["s"], cidrs: ["10.0.0.0/24"], signal });
  const connection = await near.connect({ url: "kernel://s", name: "nsc", signal });
  const names = ["nsc", "nsmgr-node-1", "forwarder-node-1", "nsmgr-node-2", "forwarder-node-2", "nse"];
  const segments = connection.connection.path?.path_segments ?? [];
  assert.deepEqual(
    segments.map(({ name }) => name),
    names,
  );
  for (const [index, { token }] of segments.entries()) {
    const claims = readClaims(token);
    assert.equal(claims?.sub, idOf(names[index] ?? ""), `sub of ${names[index]}`);
    const next = names[index + 1];
    if (next !== undefined) assert.deepEqual(claims?.aud, [idOf(next)], `aud of ${names[index]}`);
  }
  const seen: string[] = [];
  const watcher = createDialer({ identity: await rights.identityOf("nsc"), dialTimeoutMs: 5_000 });
  t.after(() => watcher.close());
  const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ id: connection.id }] });
  void (async () => {
    for await (const event of watcher.monitor(near.url, selector, signal)) seen.push(...Object.keys(event.connections));
  })().catch(() => {});
  await until("the monitor", () => seen.length > 0);
  const { identityOf } = rights;
  const again = createDialer({ identity: await identityOf("nsc"), dialTimeoutMs: 5_000 });
  t.after(() => again.close());
  const refreshed = await again
    .connections(near.url)
    .request(NetworkServiceRequest.fromPartial({ connection: { ...connection.connection } }), { signal });
  assert.equal(refreshed.id, connection.id);
  await connection.close();
  await until("the endpoint to let go", () => endpoint?.connections.length === 0);
  assert.deepEqual(
    lines.filter((line) => line.includes('"audit"')),
    [],
  );
});

test("rows 8.1, 7.9: rotation of every certificate in the middle of requests, and an agent that disappears: nothing is lost", async (t) => {
  const rights = await trust(t, await createAuthority("weft.test", { lifetimeMs: hourMs }));
  const domain = await domainWith(t, rights);
  const [near, far] = domain.nodes;
  const signal = signalOf(t);
  await far?.serve({ name: "nse", services: ["s"], cidrs: ["10.0.0.0/16"], signal });
  const kept = await near.connect({ url: "kernel://s", name: "nsc", signal });
  const dialer = createDialer({ identity: await rights.identityOf("nsc"), dialTimeoutMs: 5_000 });
  t.after(() => dialer.close());
  const client = dialer.connections(near.url);
  let running = true;
  let cycles = 0;
  const loops = Array.from({ length: 4 }, async (_, loop) => {
    for (let round = 0; running; round += 1) {
      const id = `${loop}-${round}`;
      const segment = { id, name: "nsc", expires: { seconds: Math.floor(Date.now() / 1000) + 600, nanos: 0 } };
      const call = { signal: AbortSignal.timeout(20_000) };
      const connection = await client.request(
        NetworkServiceRequest.fromPartial({
          connection: { id, network_service: "s", path: { index: 0, path_segments: [segment] } },
          mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: ownInodeUrl() } }],
        }),
        call,
      );
      await client.close(Connection.fromPartial(connection), call);
      cycles += 1;
    }
  });
  const rotations = (async () => {
    for (const [name, agent] of [...rights.agents]) {
      const identity = await rights.identityOf(name);
      const before = identity.current();
      const done = cycles;
      agent.rotate();
      await until(`the rotation of ${name}`, () => identity.current() !== before);
      await until("requests after it", () => cycles > done + 4, 20_000);
    }
    for (const agent of rights.agents.values()) await agent.close();
    const done = cycles;
    await until("requests without any agent", () => cycles > done + 10, 20_000);
  })();
  try {
    await Promise.race([rotations, Promise.all(loops)]);
  } finally {
    running = false;
    await Promise.allSettled(loops);
  }
  await Promise.all(loops);
  assert.equal(kept.connection.state, 0);
  await kept.close();
});

test("row 8.1: a client of another authority, and one without an identity, get nothing from any socket of the mesh", async (t) => {
  const lines: string[] = [];
  const authority = await createAuthority("weft.test", { lifetimeMs: hourMs });
  const domain = await domainWith(t, await trust(t, authority), lines);
  const [near] = domain.nodes;
  const signal = signalOf(t);
  // the same name of another authority
  const other = await createAuthority("weft.test", { lifetimeMs: hourMs });
  const impostor = await testIdentity(other, "/nsc", { bundles: new Map([["weft.test", [authority.certificate]]]) });
  await assert.rejects(near.connect({ url: "kernel://s", identity: impostor, signal }), { code: Code.UNAUTHENTICATED });
  const plain = createDialer({ dialTimeoutMs: 5_000 });
  t.after(() => plain.close());
  for (const url of [near.url, ...near.nsmgr.urls, ...near.forwarder.urls, ...domain.registry.urls]) {
    await assert.rejects(plain.health(url, "", AbortSignal.timeout(10_000)), { code: Code.UNAVAILABLE }, url);
  }
  assert.ok(lines.some((line) => line.includes("TLS handshake")));
});
