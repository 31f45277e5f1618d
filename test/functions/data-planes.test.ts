/** Two forwarders with different data planes on one node: which one carries a connection, and what the other keeps of it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { addressesOf, socketArgs } from "../../cli/fast/workloads.js";
import { notBuilt, runTool } from "../../forwarder/native/testing/tool.js";
import { MechanismType } from "../../sdk/api.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import type { Connection } from "../../sdk/gen/connection.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { type CleanUp, cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { type Component, forwarderComponent } from "../../testing/components.js";
import { type DomainNode, startDomain } from "../../testing/start-domain.js";
import { interfaces, pings } from "./one-node.js";

const skip = notBuilt() ?? false;
const signal = new AbortController().signal;
const patient = { liveness: false, connectTimeoutMs: 30_000, signal } as const;

test("row 1.6, row 2.6: memif goes to the forwarder that can build it, also after its restart; the other one keeps nothing", {
  skip,
}, async (context) => {
  const t = cleanUp(context);
  const { node, fast, kernel, why, held } = await twoPlanes(t);
  const echo = await serveMemif(t, node, "functions");
  const connection = await node.connect({ url: "memif://functions", ...patient });
  assert.equal(forwarderOf(connection), "forwarder-fast-node-1");
  assert.match(
    (await why(connection)).join("\n"),
    /^forwarder-node-1 FAILED FAILED_PRECONDITION: .*mechanism MEMIF is not available here; use KERNEL[\s\S]*^forwarder-fast-node-1 CHOSEN/m,
  );
  assert.equal(echo.connections.length, 1, "the refusal cost the endpoint nothing");
  await answers(t, connection.connection);
  assert.deepEqual(await held(kernel), []);
  await fast.stop();
  await fast.start();
  await until("the connection to be carried again", async () => {
    const ping = runTool(t, pingArgs(connection.connection));
    return (await ping.ended) === 0;
  });
  assert.equal(forwarderOf(connection), "forwarder-fast-node-1");
  await connection.close();
  await until("the endpoint to let go", () => echo.connections.length === 0);
  await until("the forwarder to hold nothing", async () => (await held(fast)).length === 0);
});

test("row 2.5: a label of the request names the forwarder; without it the first that fits builds an interface", async (context) => {
  if (skip !== false) return context.skip(skip);
  const t = cleanUp(context);
  const { node } = await twoPlanes(t);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "s")];
  const byLabel = [
    { metadata: { labels: { plane: "{{.plane}}" } }, fallthrough: true },
    { routes: [{ destination_selector: {} }] },
  ];
  const service = NetworkService.fromPartial({ name: "web", payload: "ETHERNET", matches: byLabel });
  await node.registry.register(service, { signal });
  await node.serve({ name: "web-1", services: ["web"], cidrs: [["172.16.9.0/28"]], netns: server.url, signal });
  const connections: ClientConnection[] = [];
  for (const [url, forwarder] of [
    ["kernel://web/any", "forwarder-node-1"],
    ["kernel://web/core?plane=fast", "forwarder-fast-node-1"],
    ["kernel://web/krnl?plane=kernel", "forwarder-node-1"],
    ["kernel://web/none?plane=vpp", "forwarder-node-1"],
  ] as const) {
    const connection = await node.connect({ url, netnsUrl: client.url, ...patient });
    assert.equal(forwarderOf(connection), forwarder, url);
    const { own, other } = addressesOf(connection.connection);
    await until(`${url} carries packets`, () => pings(client, own, other));
    connections.push(connection);
  }
  assert.equal(interfaces(client).length, connections.length);
  for (const connection of connections) await connection.close();
  for (const netns of [client, server]) await until(`${netns.name} to be empty`, () => interfaces(netns).length === 0);
});

test("row 2.6: a forwarder that cannot keep a limit says so after the endpoint has answered, gives back what it has, and the next one builds", {
  skip,
}, async (context) => {
  const t = cleanUp(context);
  const { node, fast, kernel, why, held } = await twoPlanes(t);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "s")];
  const cidrs = [["172.16.9.0/30"]];
  const endpoint = await node.serve({ name: "slow-1", services: ["slow"], cidrs, netns: server.url, signal });
  for (let round = 0; round < 3; round++) {
    const connection = await node.connect({
      url: "kernel://slow/nsm-1?weft-rate=100M",
      netnsUrl: client.url,
      liveness: false,
      signal,
    });
    assert.equal(forwarderOf(connection), "forwarder-fast-node-1");
    const [refused] = await why(connection);
    assert.match(refused ?? "", /^forwarder-node-1 FAILED FAILED_PRECONDITION/);
    assert.equal(endpoint.connections.length, 1);
    const { own, other } = addressesOf(connection.connection);
    await until("the connection carries packets", () => pings(client, own, other));
    assert.deepEqual(interfaces(client), ["nsm-1"]);
    assert.deepEqual(await held(kernel), []);
    await connection.close();
    await until("the endpoint to let go", () => endpoint.connections.length === 0);
    for (const netns of [client, server]) await until(`${netns.name} to be empty`, () => interfaces(netns).length === 0);
    await until("the forwarder to hold nothing", async () => (await held(fast)).length === 0);
  }
});

test("rows 1.8, 2.6: between nodes each manager finds the forwarder that fits; the kernel's ones are asked first and keep nothing", {
  skip,
}, async (context) => {
  const t = cleanUp(context);
  const domain = await startDomain({ dataplane: "kernel", nodes: 2 });
  t.after(() => domain.stop());
  const [near, far] = domain.nodes;
  assert.ok(far);
  // Nodes differ by their loopback address, and this run from others by the port.
  const NSM_VXLAN_PORT = String(20_000 + (process.pid % 40_000));
  const nearFast = await fastForwarder(t, near, { NSM_TUNNEL_IP: "127.0.0.1", NSM_VXLAN_PORT });
  const farFast = await fastForwarder(t, far, { NSM_TUNNEL_IP: "127.0.0.2", NSM_VXLAN_PORT });
  const echo = await serveMemif(t, far, "functions");
  const connection = await near.connect({ url: "memif://functions", ...patient });
  const names = connection.connection.path?.path_segments.map(({ name }) => name).filter((name) => name.startsWith("forwarder"));
  assert.deepEqual(names, ["forwarder-fast-node-1", "forwarder-fast-node-2"]);
  assert.equal(echo.connections.length, 1);
  await answers(t, connection.connection);
  for (const kernel of [near.forwarder, far.forwarder]) assert.deepEqual(await heldBy(domain.dialer, kernel), []);
  for (const fast of [nearFast, farFast]) assert.notDeepEqual(await heldBy(domain.dialer, fast), []);
  await connection.close();
  await until("the endpoint to let go", () => echo.connections.length === 0);
  for (const fast of [nearFast, farFast])
    await until(`${fast.name} to hold nothing`, async () => (await heldBy(domain.dialer, fast)).length === 0);
});

/** What a forwarder holds: its connections and what it has made for them. */
async function heldBy(dialer: Dialer, { urls }: Component): Promise<string[]> {
  const held: string[] = [];
  for (const section of ["connections", "objects"]) {
    const { facts } = await dialer.inspect(urls[0] ?? "").getReport({ section }, { signal });
    held.push(...facts.map(({ name, value }) => `${name} ${value}`));
  }
  return held;
}

/** A forwarder "forwarder-fast-NODE" beside the node's own: the packet core, in this process. */
async function fastForwarder(t: CleanUp, node: DomainNode, env: Readonly<Record<string, string>> = {}): Promise<Component> {
  const folder = mkdtempSync(join(tmpdir(), "wt-fast-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const NSM_NAME = `forwarder-fast-${node.name}`;
  const settings = {
    ...{ WEFT_INSECURE: "true", NODE_NAME: node.name, NSM_NAME, NSM_LABELS: "p2p:true,plane:fast", WEFT_DATAPLANE: "fast" },
    ...{ NSM_LISTEN_ON: `unix://${folder}/fast.sock`, NSM_CONNECT_TO: node.url, WEFT_STATE_DIR: join(folder, "state") },
    ...{ WEFT_CORE_HOST: "thread", WEFT_DRAIN_TIMEOUT: "100ms", ...env },
  };
  const forwarder = forwarderComponent(settings, silentLog);
  t.after(() => forwarder.stop());
  await forwarder.start();
  return forwarder;
}

/** A node whose first forwarder is the kernel's, and the second the packet core's. */
async function twoPlanes(t: CleanUp) {
  const domain = await startDomain({ dataplane: "kernel", env: { NSM_LABELS: "p2p:true,plane:kernel" } });
  t.after(() => domain.stop());
  const [local] = domain.nodes;
  const fast = await fastForwarder(t, local);
  return {
    fast,
    kernel: local.forwarder,
    held: (forwarder: Component) => heldBy(domain.dialer, forwarder),
    node: {
      registry: domain.dialer.serviceRegistry(local.url),
      serve: local.serve,
      connect: local.connect,
    },
    /** What the manager has decided about its forwarders, oldest first. */
    async why(connection: ClientConnection): Promise<string[]> {
      const connection_id = connection.connection.path?.path_segments[1]?.id ?? "";
      const { decisions } = await domain.dialer.inspect(local.url).explain({ connection_id }, { signal });
      return decisions
        .filter(({ candidate }) => candidate.startsWith("forwarder"))
        .map(({ candidate, verdict, rule }) => `${candidate} ${verdict} ${rule}`);
    },
  };
}

function serveMemif(t: CleanUp, node: Pick<DomainNode, "serve">, service: string) {
  return node.serve({
    ...{ name: `${service}-1`, services: [service], cidrs: [["172.16.9.0/28"]], mechanisms: [MechanismType.MEMIF], signal },
    onConnection: ({ connection }) => void runTool(t, ["echo", "--server", ...socketArgs(connection)]),
  });
}

function pingArgs(connection: Connection): string[] {
  const { own, other } = addressesOf(connection);
  return ["ping", ...socketArgs(connection), "--from", own, "--to", other, "--count", "3", "--interval", "0.02"];
}

async function answers(t: CleanUp, connection: Connection): Promise<void> {
  const ping = runTool(t, pingArgs(connection));
  assert.equal(await ping.ended, 0, JSON.stringify(ping.lines));
}

function forwarderOf({ connection }: ClientConnection): string {
  return connection.path?.path_segments[2]?.name ?? "";
}
