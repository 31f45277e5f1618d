/** Many connections on one node of real processes; ten thousand are in bench/scale. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inParallel } from "../../bench/registry-entries.js";
import type { Connection } from "../../sdk/gen/connection.js";
import { startOtlpCollector } from "../../sdk/testing/otlp-collector.js";
import { startMesh } from "../journey/mesh.js";
import { until } from "../journey/until.js";
import { collectable, isBack, partsOf, residentMiB, type State, stateOf } from "./process-state.js";

/** Limits of upstream's charts, in MiB (row 11.3). */
const limits: Readonly<Record<string, number>> = { registry: 260, nsmgr: 400, forwarder: 500 };

test("rows 11.2, 11.3, 11.4: 50 (100 at the peak), then 80 (160) clients on one node, and 2,000 connections: nothing is left of them", {
  timeout: 200_000,
}, async (t) => {
  const collector = await startOtlpCollector();
  t.after(() => collector.stop());
  const mesh = await startMesh(t, { processes: true, env: { ...collectable, ...observed(collector.endpoint) } });
  const endpoint = await mesh.node("n1").serve({ name: "nse", cidrs: ["10.0.0.0/8"] });
  const parts = partsOf(mesh);
  const live = async (): Promise<number> => (await mesh.node("n1").connections()).length;
  const open = async (count: number, lifetimeMs?: number): Promise<Connection[]> => {
    const made: Connection[] = [];
    const life = lifetimeMs === undefined ? {} : { lifetimeMs };
    await inParallel(count, 64, async (i) => {
      made.push(await mesh.request("n1", { service: "service", client: `client-${i}`, ...life }));
    });
    return made;
  };
  const close = (made: readonly Connection[]): Promise<void> =>
    inParallel(made.length, 64, async (i) => mesh.close("n1", made[i] ?? assert.fail()));
  // compilers and heaps get their size
  await close(await open(2_000));
  const before = new Map<string, State>();
  for (const [name, pid] of parts) before.set(name, await stateOf(pid));
  const back = async (): Promise<void> => {
    for (const [name, pid] of parts) await isBack(name, pid, before.get(name) ?? assert.fail());
  };

  for (const [lasting, more] of [
    [50, 50],
    [80, 80],
  ] as const) {
    await t.test(
      `row 11.2: ${lasting} clients, ${lasting + more} at the peak, connect; those that do not refresh go`,
      async () => {
        const stay = await open(lasting);
        await open(more, 4_000);
        assert.equal(new Set([...stay].map(({ id }) => id)).size, lasting);
        await until("those that time out have gone", async () => (await live()) === lasting);
        await close(stay);
        await until("all have gone", async () => (await live()) === 0);
        await until("at the endpoint too", () => endpoint.connections.length === 0);
      },
    );
  }
  await t.test("2,000 connections: the monitor shows all, and none when they are closed", async () => {
    const made = await open(2_000);
    await until("the monitor tells of all", async () => (await all(mesh.node("n1").url)).size === 2_000);
    await t.test("row 11.3: meanwhile every part stays below the limits of NSM's charts", () => {
      for (const [name, pid] of parts) assert.ok(residentMiB(pid) < (limits[name] ?? 0), `${name}: ${residentMiB(pid)} MiB`);
    });
    await close(made);
    await until("all have gone", async () => (await live()) === 0);
    assert.equal(endpoint.connections.length, 0);
  });
  await t.test("row 11.4: with metrics and traces on, memory and descriptors are back", async () => {
    assert.ok(collector.spans.length > 0 && collector.metricNames.size > 0, "nothing was traced or measured");
    await back();
  });

  /** What a monitor tells of in its first messages. */
  async function all(url: string): Promise<Set<string>> {
    const ids = new Set<string>();
    const leaving = AbortSignal.timeout(2_000);
    try {
      for await (const { connections } of mesh.dialer.monitor(url, { path_segments: [], network_services: [] }, leaving)) {
        for (const id of Object.keys(connections)) ids.add(id);
        if (ids.size === 2_000) break;
      }
    } catch {
      // it was silent: what it has told is all
    }
    return ids;
  }
});

/** Everything that watches a component. */
function observed(collector: string): Record<string, string> {
  const metrics = { PROMETHEUS: "true", PROMETHEUS_LISTEN_ON: "127.0.0.1:0" };
  return { ...metrics, TELEMETRY: "true", NSM_OPEN_TELEMETRY_ENDPOINT: collector, NSM_LOG_LEVEL: "warn" };
}
