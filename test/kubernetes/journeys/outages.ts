/** What goes wrong around a mesh, and what operators do to it while packets flow. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connections, pathOf, pods } from "../../../sdk/kubernetes/resource.js";
import { chart, helm, noHelm } from "../helm.js";
import type { Cluster } from "../rig/cluster/cluster.js";
import { eventually } from "../rig/eventually.js";
import { record } from "../rig/figures.js";
import { applyPod, untilPodReady } from "../rig/pods.js";
import {
  applyClient,
  applyEndpoints,
  type Pinging,
  peerOf,
  startPings,
  stateOf,
  systemNamespace,
  untilPing,
} from "../rig/weft.js";

const service = "outages";
const forwarders = "weft-forwarder";

export function outageJourneys(cluster: () => Cluster): void {
  const skip = noHelm();
  test("clients in both modes on both nodes", { skip }, () => prepare(cluster()));
  test("helm upgrade and rollback under traffic: connections stay, no packet is lost", { skip }, (t) => upgrade(cluster(), t));
  test("the API server is away: packets flow, connections stay, and what comes after is connected", { skip }, (t) =>
    apiServerAway(cluster(), t),
  );
  test("a node without the forwarder: an event on the pod says so, and the pod is connected once it is there", { skip }, () =>
    withoutForwarder(cluster()),
  );
  test("pods that are deleted while they are being connected leave nothing", { skip }, () => deletedInMidRequest(cluster()));
  test("what was made for the outages goes", { skip }, async () => {
    await cluster().kubectl(["delete", "pods", "--all", "--now"]);
    await cluster().kubectl(["delete", "deployment", service, "-n", systemNamespace, "--wait"]);
  });
}

const clients = ["node-1", "node-2"].flatMap((node) =>
  ["node", "sidecar"].map((mode) => ({ name: `${mode}-on-${node}`, node, mode })),
);

async function prepare(cluster: Cluster): Promise<void> {
  await applyEndpoints(cluster, { service, prefix: "172.16.90.0/24", replicas: 2 });
  for (const client of clients) {
    await applyClient(cluster, { ...client, service });
    await untilPing(cluster, client.name);
  }
}

async function pingAll(cluster: Cluster): Promise<Pinging[]> {
  return await Promise.all(clients.map(async ({ name }) => startPings(cluster, name, await peerOf(cluster, name))));
}

/** @returns what was sent */
async function noneLost(cluster: Cluster, pinging: readonly Pinging[]): Promise<number> {
  const stopped = await Promise.allSettled(pinging.map((one) => one.stop()));
  const counts = stopped.map((one) =>
    one.status === "fulfilled" ? one.value : { sent: 0, received: 0, problem: String(one.reason) },
  );
  if (counts.every(({ sent, received }) => sent > 0 && sent === received)) return counts.reduce((sum, { sent }) => sum + sent, 0);
  throw new Error(`${JSON.stringify(counts)}\n${await stateOf(cluster)}`);
}

async function rolled(cluster: Cluster): Promise<void> {
  const names = await cluster.kubectl([
    "get",
    "ds,deploy",
    "-l",
    "app.kubernetes.io/instance=weft",
    "-n",
    systemNamespace,
    "-o",
    "name",
  ]);
  for (const name of names.trim().split("\n")) {
    await cluster.kubectl(["rollout", "status", name, "-n", systemNamespace, "--timeout=180s"]);
  }
}

async function upgrade(cluster: Cluster, t: TestContext): Promise<void> {
  const at = ["--namespace", systemNamespace, "--wait", "--timeout", "5m"];
  const ids = async (): Promise<string> =>
    cluster.kubectl(["get", "connections", "-o", "jsonpath={range .items[*]}{.metadata.name}={.status.id} {end}"]);
  const before = await ids();
  const pinging = await pingAll(cluster);
  // every part is made anew by this
  await helm(["upgrade", "weft", chart, "--reuse-values", "--set", "logLevel=debug", ...at], cluster.kubeconfig);
  await rolled(cluster);
  await helm(["rollback", "weft", "1", ...at], cluster.kubeconfig);
  await rolled(cluster);
  const sent = await noneLost(cluster, pinging);
  assert.ok(sent > 100);
  await eventually("the connections to be those of before", async () => (await ids()) === before, 30_000).catch(
    async (error: Error) => {
      throw new Error(`${error.message}: ${before} became ${await ids()}\n${await stateOf(cluster)}`, { cause: error });
    },
  );
  record(t, "`helm upgrade` and `helm rollback` of all parts under traffic", `0 of ${sent} pings lost`, "0 lost");
}

const awayMs = 15_000;

async function apiServerAway(cluster: Cluster, t: TestContext): Promise<void> {
  const pinging = await pingAll(cluster);
  await cluster.beginOutage();
  await sleep(awayMs);
  await cluster.endOutage();
  const backMs = performance.now();
  const since = (): string => `${((performance.now() - backMs) / 1_000).toFixed(1)} s`;
  for (const node of cluster.nodes) await cluster.untilReady(node);
  t.diagnostic(`nodes Ready ${since()} after it is back`);
  const sent = await noneLost(cluster, pinging);
  t.diagnostic(`pings counted after ${since()}`);
  await applyClient(cluster, { name: "after-outage", service, mode: "node" });
  await untilPing(cluster, "after-outage");
  t.diagnostic(`a new pod pings after ${since()}`);
  record(t, `API server away for ${awayMs / 1_000} s`, `0 of ${sent} pings lost`, "0 lost");
}

async function withoutForwarder(cluster: Cluster): Promise<void> {
  const [home, bare] = cluster.nodes;
  assert.ok(home && bare);
  const select = async (selector: object): Promise<void> => {
    const patch = JSON.stringify({ spec: { template: { spec: { nodeSelector: selector } } } });
    await cluster.kubectl(["patch", "daemonset", forwarders, "-n", systemNamespace, "--type=merge", "-p", patch]);
  };
  await cluster.kubectl(["label", "node", home.name, "weft.test/forwarder=yes"]);
  await select({ "weft.test/forwarder": "yes" });
  await eventually("one forwarder", async () => {
    const found = await cluster.kubectl([
      "get",
      "pods",
      "-n",
      systemNamespace,
      "-l",
      "app.kubernetes.io/name=forwarder",
      "-o",
      "name",
    ]);
    return found.trim().split("\n").length === 1;
  });
  const annotations = { "networkservicemesh.io": `kernel://${service}/nsm-1`, "networkservicemesh.io/mode": "node" };
  await applyPod(cluster, { name: "bare", node: bare.name, annotations });
  const said = await eventually(
    "an event that speaks of the forwarder",
    async () => {
      const text = await cluster.kubectl(["get", "events", "--field-selector", "involvedObject.name=bare,reason=NotConnected"]);
      return /forwarder/.test(text) && text;
    },
    90_000,
  );
  assert.match(said, /Warning/);
  await select({ "weft.test/forwarder": null as unknown as string });
  await untilPodReady(cluster, "bare", "default", 120_000);
  await untilPing(cluster, "bare");
  await rolled(cluster);
}

async function deletedInMidRequest(cluster: Cluster): Promise<void> {
  const links = async (): Promise<string> =>
    (await Promise.all(cluster.nodes.map((node) => node.run(["sh", "-c", "ip -o link | grep -c vxlan || true"])))).join();
  const before = await links();
  const names: string[] = [];
  for (const [index, afterMs] of [200, 350, 500, 650, 800, 950, 1_200, 1_500].entries()) {
    const name = `short-lived-${index}`;
    const { mode, node } = clients[index % clients.length] ?? clients[0] ?? { mode: "node", node: "node-1" };
    const annotations = { "networkservicemesh.io": `kernel://${service}/nsm-1`, "networkservicemesh.io/mode": mode };
    await applyPod(cluster, { name, node, annotations });
    await sleep(afterMs);
    await cluster.api.call({
      method: "DELETE",
      path: pathOf(pods, { namespace: "default", name }),
      body: { gracePeriodSeconds: 0 },
    });
    names.push(name);
  }
  await eventually("their Connection objects to go", async () => {
    const { items } = await cluster.api.call<{ items: { spec: { pod: string } }[] }>({
      path: pathOf(connections, { namespace: "default" }),
    });
    return !items.some(({ spec }) => names.includes(spec.pod));
  });
  await eventually("their tunnels to go", async () => (await links()) === before, 90_000).catch(async (error: Error) => {
    throw new Error(`${error.message}: before ${before}, now ${await links()}`, { cause: error });
  });
}
