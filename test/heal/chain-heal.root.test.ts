/** A chain of functions with real packets: client → wire (a bridge in its own pod) → endpoint, and what heals it. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { addressPairs } from "../../sdk/client/address-pairs.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import { listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { createPlainLink, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { createNamedNetns, deleteNamedNetns, openNetns } from "../../sdk/linux/netns.js";
import { passthrough, type Wire } from "../../sdk/passthrough/passthrough.js";
import { until } from "../../sdk/testing/until.js";
import { healing, listenTo } from "./listen.js";
import { type ProcessMesh, startProcessMesh } from "./process-mesh.js";
import { startTraffic } from "./traffic.js";

const service = "chain";
const url = `kernel://${service}/nsm-1`;
const probe = { livenessIntervalMs: 50, livenessTimeoutMs: 500 };

for (const nodes of [1, 2] as const) {
  test(`row 2.8, 2.9: packets cross a passthrough, ${nodes} node(s); it carries no address; 7.1: its forwarder is killed, nothing is lost`, async (t) => {
    const mesh = await startProcessMesh(t, { nodes, dataplane: "kernel" });
    await registerChain(mesh);
    const pod = await startWire(t, mesh, nodes - 1);
    const endpoint = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24", { app: "nse" });
    assert.ok(endpoint);
    const connection = await mesh.client(0, { url, ...probe });
    assert.deepEqual(functionsOf(connection), ["wire-1", "nse-1"]);
    const [pair] = addressPairs(connection.connection);
    assert.ok(pair);
    const traffic = startTraffic({ netnsUrl: `file:///run/netns/${connection.netns}`, addresses: () => pair, intervalMs: 50 });
    const startMs = performance.now();
    await until("packets through the chain", () => traffic.lastAnswerMs() > startMs);
    await traffic.stop();
    assert.deepEqual(pod.addresses(), [], "a wire has no addresses");

    const heard = listenTo(connection);
    const steady = startTraffic({ netnsUrl: `file:///run/netns/${connection.netns}`, addresses: () => pair, intervalMs: 50 });
    const forwarder = mesh.nodes[nodes - 1]?.forwarder;
    await forwarder?.kill();
    await forwarder?.start();
    await until("healing", () => heard.at(-1) === "healed", 20_000);
    const report = await steady.stop();
    t.diagnostic(`${report.sent} echoes, ${report.lost} lost, longest gap ${report.longestGapMs} ms; ${heard.join(" ")}`);
    assert.equal(report.lost, 0);
  });
}

test("row 7.3: the endpoint behind a passthrough dies with its pod: the report passes through, another one is found", async (t) => {
  const mesh = await startProcessMesh(t, { nodes: 1, dataplane: "kernel" });
  await registerChain(mesh);
  await startWire(t, mesh, 0);
  const dying = await mesh.endpoint(0, "nse-1", service, "172.16.1.0/24", { app: "nse" });
  const connection = await mesh.client(0, { url, ...probe });
  await mesh.endpoint(0, "nse-2", service, "172.16.2.0/24", { app: "nse" });
  const healed = healing(connection);
  await dying.kill();
  mesh.removePod(dying.netns);
  t.diagnostic(`healed in ${(await healed).tookMs} ms`);
  assert.deepEqual(functionsOf(connection), ["wire-1", "nse-2"]);
  assert.deepEqual(connection.context.ip_context?.src_ip_addrs, ["172.16.2.1/32"]);
});

async function registerChain(mesh: ProcessMesh): Promise<void> {
  const matches = [
    { source_selector: { app: "wire" }, routes: [{ destination_selector: { app: "nse" } }] },
    { routes: [{ destination_selector: { app: "wire" } }] },
  ];
  const entry = NetworkService.fromPartial({ name: service, payload: "ETHERNET", matches });
  const signal = AbortSignal.timeout(10_000);
  await mesh.dialer.serviceRegistry(mesh.nodes[0]?.url ?? "").register(entry, { signal });
}

function functionsOf({
  connection,
}: {
  readonly connection: { readonly path?: { readonly path_segments: readonly { name: string }[] } | undefined };
}) {
  const names = connection.path?.path_segments.map(({ name }) => name) ?? [];
  return names.slice(1).filter((name) => !/^(nsmgr|forwarder)-/.test(name));
}

/** A function that joins its two interfaces with a bridge. */
async function startWire(t: TestContext, mesh: ProcessMesh, node: number) {
  const netns = `wt-wire-${process.pid}-${node}`;
  createNamedNetns(netns);
  const handle = openNetns(netns);
  const socket = openNetlinkSocket(handle);
  const running = await passthrough({
    name: "wire-1",
    services: [service],
    labels: { app: "wire" },
    nsmgr: mesh.nodes[node]?.url ?? "",
    netns,
    signal: new AbortController().signal,
    onConnection: (wire) => void join(wire),
  });
  async function join({ inInterface, outInterface, closed }: Wire): Promise<void> {
    const bridge = `br${outInterface.slice(-8)}`;
    if (getLink(socket, bridge) === undefined) socket.perform([createPlainLink(bridge, "bridge")]);
    const masterIndex = getLink(socket, bridge)?.index ?? 0;
    socket.perform([setLink(masterIndex, { up: true })]);
    for (const name of [outInterface, inInterface]) {
      const link = await until(name, () => closed.aborted || getLink(socket, name));
      if (link !== true) socket.perform([setLink(link.index, { masterIndex, up: true })]);
    }
  }
  t.after(async () => {
    await running.close();
    socket.close();
    handle.close();
    deleteNamedNetns(netns);
  });
  return {
    addresses: () => listAddresses(socket).filter(({ scope }) => scope === 0),
  };
}
