/** Many connections on one node of real processes, with identities, policies, metrics and traces; ten thousand are in bench/scale. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { inParallel } from "../../bench/registry-entries.js";
import type { Connection } from "../../sdk/gen/connection.js";
import { createAuthority } from "../../sdk/identity/authority.js";
import type { Identity } from "../../sdk/identity/identity.js";
import { serveWorkloadApi } from "../../sdk/identity/workload-api-server.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { hourMs, testIdentity } from "../../sdk/testing/identities.js";
import { startOtlpCollector } from "../../sdk/testing/otlp-collector.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { startMesh } from "../journey/mesh.js";
import { until } from "../journey/until.js";
import { collectable, isBack, partsOf, residentMiB, type State, stateOf } from "./process-state.js";

const many = 2_000;
/** Fewer than one identity may have under way: nobody is refused. */
const atOnce = 32;
/** Enough for all who leave to be there at once. */
const briefMs = 5_000;
/** Limits of upstream's charts, in MiB (row 11.3). */
const limits: Readonly<Record<string, number>> = { registry: 260, nsmgr: 400, forwarder: 500 };

test("rows 11.2, 11.3, 11.4: 2,000 connections on one node with policies, metrics and traces: nothing is left of them", {
  timeout: 240_000,
}, async (t) => {
  const collector = await startOtlpCollector();
  t.after(() => collector.stop());
  const { identity, brief, socket } = await startIdentities(t);
  const env = { ...collectable, ...trusted(socket), ...observed(collector.endpoint) };
  const mesh = await startMesh(t, { processes: true, identity, env });
  const node = mesh.node("n1");
  const endpoint = await node.serve({ name: "nse", cidrs: ["10.0.0.0/8"] });
  const parts = partsOf(mesh);
  const live = async (): Promise<number> => (await node.connections()).length;
  const open = async (count: number, dialer = mesh.dialer): Promise<Connection[]> => {
    const made: Connection[] = [];
    await inParallel(count, atOnce, async (i) => {
      made.push(await mesh.request("n1", { service: "service", client: `client-${i}`, dialer }));
    });
    return made;
  };
  const leaving = createDialer({ dialTimeoutMs: 2_000, identity: brief });
  t.after(() => leaving.close());
  const close = (made: readonly Connection[]): Promise<void> =>
    inParallel(made.length, atOnce, async (i) => mesh.close("n1", made[i] ?? assert.fail()));
  // compilers and heaps get their size
  await close(await open(500));
  const before = new Map<string, State>();
  for (const [name, pid] of parts) before.set(name, await stateOf(pid));

  for (const lasting of [50, 80]) {
    await t.test(
      `row 11.2: ${lasting} clients, ${2 * lasting} at the peak: all connect, those that do not refresh go`,
      async () => {
        const stay = await open(lasting);
        const leave = await open(lasting, leaving);
        assert.equal(new Set([...stay, ...leave].map(({ id }) => id)).size, 2 * lasting);
        await until("those that time out have gone", async () => (await live()) === lasting);
        await close(stay);
        await until("all have gone", async () => (await live()) === 0);
        await until("at the endpoint too", () => endpoint.connections.length === 0);
      },
    );
  }
  await t.test(
    "rows 11.2, 11.3: 2,000 connections: a monitor tells of all, each part stays below the limits of NSM's charts",
    async () => {
      const made = await open(many);
      assert.equal(await told(mesh.dialer, node.url, many), many, "a monitor tells of all");
      for (const [name, pid] of parts) assert.ok(residentMiB(pid) < (limits[name] ?? 0), `${name}: ${residentMiB(pid)} MiB`);
      await close(made);
      await until("all have gone", async () => (await live()) === 0);
      assert.equal(endpoint.connections.length, 0);
    },
  );
  await t.test("row 11.4: with policies, metrics and traces on, memory and descriptors are back", async () => {
    assert.ok(collector.spans.length > 0 && collector.metricNames.size > 0, "nothing was traced or measured");
    for (const [name, pid] of parts) await isBack(name, pid, before.get(name) ?? assert.fail());
  });
});

/** How many connections a monitor tells of, which it does in several messages; at most so many are waited for. */
async function told(dialer: Dialer, url: string, count: number): Promise<number> {
  const ids = new Set<string>();
  const leave = new AbortController();
  const late = setTimeout(() => leave.abort(), 20_000);
  try {
    for await (const { connections } of dialer.monitor(url, { path_segments: [], network_services: [] }, leave.signal)) {
      for (const id of Object.keys(connections)) ids.add(id);
      if (ids.size >= count) break;
    }
  } catch (error) {
    if (!leave.signal.aborted) throw error;
  } finally {
    clearTimeout(late);
    leave.abort();
  }
  return ids.size;
}

interface Identities {
  /** Of the test's own clients. */
  readonly identity: Identity;
  /** The same with tokens that end soon: so does what is not refreshed. */
  readonly brief: Identity;
  readonly socket: string;
}

/** A Workload API that knows every component by the name it was started with. */
async function startIdentities(t: TestContext): Promise<Identities> {
  const authority = await createAuthority("weft.test", { lifetimeMs: hourMs });
  const folder = await mkdtemp(join(tmpdir(), "weft-s-"));
  const ending = new AbortController();
  const agent = await serveWorkloadApi({
    url: `unix://${folder}/agent.sock`,
    authority,
    lifetimeMs: hourMs,
    idOf: ({ pid }) => `spiffe://weft.test/${nameOf(pid)}`,
    log: silentLog,
    signal: ending.signal,
  });
  t.after(async () => {
    ending.abort();
    await agent.close();
    await rm(folder, { recursive: true, force: true });
  });
  return {
    identity: await testIdentity(authority, "/clients"),
    brief: await testIdentity(authority, "/clients", { maxTokenLifetimeMs: briefMs }),
    socket: agent.url,
  };
}

function nameOf(pid: number): string {
  return /(?:^|\0)NSM_NAME=([^\0]+)/.exec(readFileSync(`/proc/${pid}/environ`, "utf8"))?.[1] ?? "registry";
}

/** Mutual TLS, tokens and the policies that come with them. The clients also ask when the node is ready, as operators may. */
function trusted(socket: string): Record<string, string> {
  return { WEFT_INSECURE: "false", SPIFFE_ENDPOINT_SOCKET: socket, WEFT_OPERATORS: "spiffe://weft.test/clients" };
}

/** Everything that watches a component. */
function observed(collector: string): Record<string, string> {
  const metrics = { PROMETHEUS: "true", PROMETHEUS_LISTEN_ON: "127.0.0.1:0" };
  return { ...metrics, TELEMETRY: "true", NSM_OPEN_TELEMETRY_ENDPOINT: collector, NSM_LOG_LEVEL: "warn" };
}
