import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ClientConnection } from "../sdk/client/connect.js";
import { ConnectionEventType, MonitorScopeSelector } from "../sdk/gen/connection.js";
import { NetworkService } from "../sdk/gen/registry.js";
import { until } from "../sdk/testing/until.js";
import { type Domain, type DomainOptions, startDomain } from "./start-domain.js";

const signal = new AbortController().signal;
const service = "icmp-responder";

test("one node: a connection with addresses, its path, and nothing left after close", async (t) => {
  const { domain, node } = await start(t);
  await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24");
  const connection = await node.connect({ url: `kernel://${service}/nsm-1?color=red`, name: "pod", signal });
  assert.equal(connection.interfaceName, "nsm-1");
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.16.1.1/32"]);
  assert.deepEqual(connection.context.ip_context?.dst_ip_addrs, ["172.16.1.0/32"]);
  assert.deepEqual(pathOf(connection), ["pod", "nsmgr-node-1", "forwarder-node-1", "nse-1"]);
  assert.equal(connection.connection.labels["nodeName"], "node-1");
  await connection.close();
  await forgotten(domain);
});

test("two nodes: the path goes through both, and the remote endpoint answers", async (t) => {
  const { domain } = await start(t, { nodes: 2 });
  await serveOn(t, domain, 1, "nse-far", "172.16.2.0/24");
  const connection = await connectTo(t, domain);
  assert.deepEqual(pathOf(connection).slice(1), [
    "nsmgr-node-1",
    "forwarder-node-1",
    "nsmgr-node-2",
    "forwarder-node-2",
    "nse-far",
  ]);
  await connection.close();
  await forgotten(domain);
});

test("row 2.8, 2.9: client → two functions → endpoint, each next one chosen by the labels of the one before", async (t) => {
  const { domain, node } = await start(t, { nodes: 2 });
  const matches = [
    { source_selector: { app: "firewall" }, routes: [{ destination_selector: { app: "passthrough" } }] },
    { source_selector: { app: "passthrough" }, routes: [{ destination_selector: { app: "nse" } }] },
    { routes: [{ destination_selector: { app: "firewall" } }] },
  ];
  await domain.dialer
    .serviceRegistry(node.url)
    .register(NetworkService.fromPartial({ name: service, payload: "ETHERNET", matches }), { signal });
  const wires: string[] = [];
  const functions = await Promise.all(
    (["firewall", "passthrough"] as const).map((app, index) =>
      (domain.nodes[index] ?? node).passthrough({
        name: `${app}-1`,
        services: [service],
        labels: { app },
        signal,
        onConnection: ({ inInterface, outInterface, closed }) => {
          assert.notEqual(inInterface, outInterface);
          wires.push(app);
          closed.addEventListener("abort", () => wires.push(`-${app}`));
        },
      }),
    ),
  );
  t.after(() => Promise.all(functions.map((one) => one.close())));
  await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24", { app: "nse" });
  const connection = await connectTo(t, domain, { app: "client" });
  assert.deepEqual(
    pathOf(connection)
      .filter((name) => !/nsmgr|forwarder/.test(name))
      .slice(1),
    ["firewall-1", "passthrough-1", "nse-1"],
  );
  assert.deepEqual(connection.connection.labels["app"], "client");
  assert.equal(connection.connection.network_service_endpoint_name, "firewall-1");
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.16.1.1/32"]);
  assert.deepEqual(wires.toSorted(), ["firewall", "passthrough"]);
  await connection.close();
  await until("both functions to hear of the end", () => wires.length === 4);
  assert.deepEqual(wires.toSorted(), ["-firewall", "-passthrough", "firewall", "passthrough"]);
  await forgotten(domain);
});

test("row 1.28: a connection survives many token lifetimes", async (t) => {
  const { domain, node } = await start(t, { maxTokenLifetimeMs: 1_000 });
  await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24");
  const connection = await node.connect({ url: `kernel://${service}`, maxTokenLifetimeMs: 1_000, signal });
  t.after(() => connection.close());
  const heard: string[] = [];
  void (async () => {
    for await (const { kind } of connection.changes) heard.push(kind);
  })();
  const ends = new Set<number>();
  const seen = (): boolean => ends.add(connection.connection.path?.path_segments[0]?.expires?.seconds ?? 0).size >= 4;
  await until("the life to be prolonged three seconds", seen, 20_000);
  assert.deepEqual(heard, []);
  assert.equal((await connectionsAt(domain, node.url)).length, 1);
});

test("row 1.29: a client that dies without a close leaves nothing once its token has expired", async (t) => {
  const { domain, node } = await start(t, { nodes: 2, maxTokenLifetimeMs: 1_000 });
  const endpoint = await serveOn(t, domain, 1, "nse-1", "172.16.1.0/24");
  const connection = await node.connect({ url: `kernel://${service}`, maxTokenLifetimeMs: 1_000, signal });
  assert.equal(endpoint.connections.length, 1);
  await connection.leave();
  await forgotten(domain);
  assert.equal(endpoint.connections.length, 0);
});

test("row 2.9, 7.15: a passthrough restarts: the connection keeps its functions and its addresses", async (t) => {
  const { domain, node } = await start(t);
  const matches = [
    { source_selector: { app: "wire" }, routes: [{ destination_selector: { app: "nse" } }] },
    { routes: [{ destination_selector: { app: "wire" } }] },
  ];
  await domain.dialer
    .serviceRegistry(node.url)
    .register(NetworkService.fromPartial({ name: service, payload: "ETHERNET", matches }), { signal });
  const options = { name: "wire-1", services: [service], labels: { app: "wire" }, unregisterItself: false, signal };
  const first = await node.passthrough(options);
  await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24", { app: "nse" });
  await serveOn(t, domain, 0, "nse-2", "172.16.2.0/24", { app: "nse" });
  // As on a kernel: the wire goes on carrying packets without the process that made it, so no other endpoint is needed.
  const connection = await node.connect({ url: `kernel://${service}`, liveness: async () => true, signal });
  t.after(() => connection.close());
  const before = { path: pathOf(connection), context: connection.context };
  const healed = nextHealed(connection);
  await first.close();
  const second = await node.passthrough(options);
  t.after(() => second.close());
  await healed;
  await until("the new process to have the wire", () => second.wires.length === 1);
  assert.deepEqual({ path: pathOf(connection), context: connection.context }, before);
});

test("row 1.31: whoever watches hears the state first, then every change", async (t) => {
  const { domain, node } = await start(t);
  await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24");
  const watching = new AbortController();
  const heard: string[] = [];
  const done = (async () => {
    const selector = MonitorScopeSelector.fromPartial({ path_segments: [{ id: "c-1" }] });
    for await (const { type, connections } of domain.dialer.monitor(node.url, selector, watching.signal)) {
      heard.push(`${eventNames[type]} ${Object.values(connections).length}`);
    }
  })().catch(() => {});
  await until("the first event", () => heard.length === 1);
  const connection = await node.connect({ url: `kernel://${service}`, id: "c-1", signal });
  const other = await node.connect({ url: `kernel://${service}`, id: "c-2", signal });
  await until("the update", () => heard.length >= 2);
  await connection.close();
  await until("the deletion", () => heard.at(-1) === "DELETE 1");
  assert.equal(heard[0], "INITIAL_STATE_TRANSFER 0");
  assert.equal(heard[1], "UPDATE 1");
  await other.close();
  watching.abort();
  await done;
});

test("row 7.3: the endpoint goes, the connection moves to the other one with its addresses", async (t) => {
  const { domain, node } = await start(t);
  const first = await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24");
  const connection = await connectTo(t, domain);
  await serveOn(t, domain, 0, "nse-2", "172.16.2.0/24");
  const healed = nextHealed(connection);
  await first.close();
  const change = await healed;
  // an endpoint that closes waits until its clients have made their way to another
  assert.equal(change.how, "beside");
  assert.equal(connection.connection.network_service_endpoint_name, "nse-2");
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.16.2.1/32"]);
  await until("the old one is closed", async () => (await connectionsAt(domain, node.url)).length === 1);
});

for (const what of ["nsmgr", "forwarder"] as const) {
  test(`row ${what === "nsmgr" ? "7.2" : "7.1"}: the ${what} restarts, the connection stays as it is`, async (t) => {
    const { domain, node } = await start(t);
    await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24");
    await serveOn(t, domain, 0, "nse-2", "172.16.2.0/24");
    const connection = await connectTo(t, domain);
    const before = connection.connection;
    const healed = nextHealed(connection);
    await node[what].stop();
    await node[what].start();
    await healed;
    assert.equal((await connectionsAt(domain, node.url)).length, 1);
    assert.equal((await connectionsAt(domain, node.forwarder.urls[0] ?? "")).length, 1);
    if (what === "nsmgr") {
      assert.equal(connection.connection.network_service_endpoint_name, before.network_service_endpoint_name);
      assert.deepEqual(connection.context, before.context);
    }
  });
}

test("row 7.4: the registry restarts empty: what was there comes back, new connections work", async (t) => {
  const { domain } = await start(t);
  await serveOn(t, domain, 0, "nse-1", "172.16.1.0/24");
  await domain.registry.stop();
  await domain.registry.start();
  await connectTo(t, domain);
});

const eventNames: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(ConnectionEventType).map(([name, value]) => [value, name]),
);

async function start(t: TestContext, options: DomainOptions = {}) {
  const domain = await startDomain(options);
  t.after(() => domain.stop());
  return { domain, node: domain.nodes[0] };
}

async function serveOn(t: TestContext, domain: Domain, index: number, name: string, cidr: string, labels = {}) {
  const node = domain.nodes[index];
  assert.ok(node);
  const serving = await node.serve({ name, services: [service], cidrs: [cidr], labels, signal });
  t.after(() => serving.close());
  return serving;
}

async function connectTo(t: TestContext, domain: Domain, labels: Record<string, string> = {}): Promise<ClientConnection> {
  const connection = await domain.nodes[0].connect({ url: `kernel://${service}`, labels, signal });
  t.after(() => connection.close());
  return connection;
}

function pathOf({ connection }: ClientConnection): string[] {
  return connection.path?.path_segments.map(({ name }) => name) ?? [];
}

/** When a client has closed: a hop that is slow to hear of it is not waited for. */
async function forgotten(domain: Domain): Promise<void> {
  const hops = domain.nodes.flatMap(({ url, forwarder }) => [url, forwarder.urls[0] ?? ""]);
  const left = async (): Promise<boolean> =>
    (await Promise.all(hops.map((url) => connectionsAt(domain, url)))).every((ids) => ids.length === 0);
  await until("every hop to forget it", left, 20_000);
}

async function connectionsAt(domain: Domain, url: string): Promise<string[]> {
  const stop = new AbortController();
  try {
    for await (const event of domain.dialer.monitor(url, MonitorScopeSelector.fromPartial({}), stop.signal))
      return Object.keys(event.connections);
    return [];
  } finally {
    stop.abort();
  }
}

async function nextHealed(connection: ClientConnection) {
  for await (const change of connection.changes) if (change.kind === "healed") return change;
  throw new Error("the connection ended without healing");
}
