/** What `weft get connections --watch` says while endpoints and components go and come, beside what packets say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { get } from "../../cli/commands/get.js";
import type { CliContext } from "../../cli/context.js";
import type { ConnectionView } from "../../cli/view/connections.js";
import { until } from "../../sdk/testing/until.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";
import { type Traffic, trafficOf } from "./traffic.js";

const service = "icmp-responder";
const url = `kernel://${service}/nsm-1`;
const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 200 };
const timeoutMs = 40_000;
/** Far more than the probe needs: that a machine is busy is no lie. */
const untrueMs = 10_000;
type Line = Pick<ConnectionView, "id" | "state" | "endpoint" | "clientAddresses">;

test("rows 7.1, 7.3, 7.4, 7.15: get connections --watch says what packets say: endpoints lost and drained, every component killed", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 2, dataplane: "kernel" });
  const first = await mesh.endpoint(1, "nse-1", service, "172.16.1.0/24");
  const connection = await mesh.client(0, { url, ...probe });
  const watched = watch(mesh);
  t.after(watched.stop);
  const traffic = trafficOf(connection);
  const lies = watchLies(watched.lines, traffic);
  t.after(lies.stop);
  /** The last line of the client's connection, and no other one, tells of the endpoint that answers. */
  const says = async (endpoint: string): Promise<void> => {
    await until(`packets to ${endpoint}`, () => connection.connection.network_service_endpoint_name === endpoint, timeoutMs);
    const answered = performance.now();
    await until("an answer", () => traffic.lastAnswerMs() > answered, timeoutMs);
    const told = (): boolean => {
      const { connection: current, context } = connection;
      const line = { id: current.id, state: "UP", endpoint, clientAddresses: context.ip_context?.src_ip_addrs };
      return JSON.stringify(watched.lines()) === JSON.stringify([line]);
    };
    await until(`the list tells of ${endpoint}`, told, timeoutMs).catch((error: Error) => {
      throw new Error(`${error.message}; it says ${JSON.stringify(watched.lines())} ${watched.told()}`);
    });
  };
  await says("nse-1");

  await t.test(
    "the only endpoint goes with its pod: what nothing passes is not UP; another one comes: it is UP there",
    async () => {
      await first.kill();
      mesh.removePod(first.netns);
      await until("no line says UP", () => watched.lines().every(({ state }) => state !== "UP"), timeoutMs);
      await mesh.endpoint(0, "nse-2", service, "172.16.2.0/24");
      await says("nse-2");
    },
  );
  const third = await mesh.endpoint(1, "nse-3", service, "172.16.3.0/24");
  for (const what of ["forwarder", "nsmgr", "registry"] as const) {
    await t.test(`${what} killed and started again: the same connection, packets all the time`, async () => {
      const component = what === "registry" ? mesh.registry : mesh.nodes[0]?.[what];
      assert.ok(component);
      const here = trafficOf(connection);
      await component.kill();
      await component.start();
      await says("nse-2");
      assert.equal((await here.stop()).lost, 0);
    });
  }
  await t.test("the endpoint drains: one line, of the new endpoint", async () => {
    const manager = mesh.dialer.inspect(mesh.nodes[0]?.url ?? "");
    const signal = AbortSignal.timeout(timeoutMs);
    await manager.drain({ endpoint: "nse-2", undo: false, wait_ms: 20_000 }, { signal });
    await says("nse-3");
  });
  await t.test("the last endpoint goes: not UP", async () => {
    await third.kill();
    mesh.removePod(third.netns);
    await until("no line says UP", () => watched.lines().every(({ state }) => state !== "UP"), timeoutMs);
  });
  await traffic.stop();
  t.diagnostic(`longest time for which a line said UP and nothing was answered: ${lies.longestMs()} ms`);
  assert.ok(lies.longestMs() < untrueMs, `${lies.longestMs()} ms`);
  assert.ok(watched.goesOn(), "the watch has not ended by itself");
});

/** The command, as it runs in a terminal. */
function watch(mesh: ProcessMesh) {
  const stop = new AbortController();
  const written: string[] = [];
  const told: string[] = [];
  const to = (list: string[]) => ({ write: (text: string) => list.push(text) });
  const env = { WEFT_INSECURE: "true" };
  const context: CliContext = { out: to(written), err: to(told), env, self: ["false"], signal: stop.signal };
  const options = {
    registry: mesh.registry.url,
    nsmgr: mesh.nodes.map(({ nsmgr, url }) => `${nsmgr.name}=${url}`),
    forwarder: mesh.nodes.map(({ forwarder }) => `${forwarder.name}=${forwarder.url}`),
    output: "json" as const,
    watch: true,
  };
  let ended = false;
  const done = get("connections", undefined, options, context).finally(() => {
    ended = true;
  });
  done.catch((error: unknown) => told.push(String(error)));
  return {
    goesOn: () => !ended,
    told: () => told.slice(-3).join(""),
    lines(): readonly Line[] {
      const last = written.filter((text) => text.startsWith("{")).at(-1);
      if (last === undefined) return [];
      const { items } = JSON.parse(last) as { items: Line[] };
      return items.map(({ id, state, endpoint, clientAddresses }) => ({ id, state, endpoint, clientAddresses }));
    },
    async stop() {
      stop.abort();
      await done;
    },
  };
}

/** The longest time for which a line said UP and nothing was answered. */
function watchLies(lines: () => readonly Line[], traffic: Traffic) {
  let sinceMs: number | undefined;
  let longestMs = 0;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    sinceMs = lines().some(({ state }) => state === "UP") ? (sinceMs ?? nowMs) : undefined;
    if (sinceMs !== undefined) longestMs = Math.max(longestMs, nowMs - Math.max(sinceMs, traffic.lastAnswerMs()));
  }, 20);
  return {
    longestMs: () => Math.round(longestMs),
    stop: () => clearInterval(timer),
  };
}
