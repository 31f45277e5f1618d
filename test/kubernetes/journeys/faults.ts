/** What a cluster does to a mesh on an ordinary day: pods are deleted, nodes crash, DaemonSets are rolled. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { pathOf, pods } from "../../../sdk/kubernetes/resource.js";
import { noHelm } from "../helm.js";
import type { Cluster } from "../rig/cluster/cluster.js";
import { eventually } from "../rig/eventually.js";
import { record } from "../rig/figures.js";
import {
  applyClient,
  applyEndpoints,
  connectionOf,
  peerOf,
  podsOf,
  startPings,
  systemNamespace,
  untilPing,
} from "../rig/weft.js";

const service = "faults";

export function faultJourneys(cluster: () => Cluster): void {
  const skip = noHelm();
  test("pods on both nodes reach an endpoint by their annotation, in mode node", { skip }, () => pingByAnnotation(cluster()));
  test("all DaemonSets are rolled under traffic, and no packet is lost", { skip }, (t) => rollDaemons(cluster(), t));
  test("an endpoint's pod is deleted, and its client goes to another", { skip }, (t) => deleteEndpoint(cluster(), t));
  test("the node of an endpoint crashes, and its client goes to one on a node that lives", { skip }, (t) =>
    crashNode(cluster(), t),
  );
}

async function pingByAnnotation(cluster: Cluster): Promise<void> {
  await applyEndpoints(cluster, { service, prefix: "172.16.70.0/24", replicas: 2 });
  for (const node of cluster.nodes) {
    await applyClient(cluster, { name: `client-${node.index}`, node: node.name, service, mode: "node" });
    await untilPing(cluster, `client-${node.index}`);
  }
}

async function rollDaemons(cluster: Cluster, t: TestContext): Promise<void> {
  const pinging = [];
  for (const { index } of cluster.nodes) {
    const pod = `client-${index}`;
    pinging.push(await startPings(cluster, pod, await peerOf(cluster, pod)));
  }
  const names = (await cluster.kubectl(["get", "ds", "-n", systemNamespace, "-o", "name"])).trim().split("\n");
  assert.ok(names.length >= 3, names.join());
  for (const name of names) {
    await cluster.kubectl(["rollout", "restart", name, "-n", systemNamespace]);
    await cluster.kubectl(["rollout", "status", name, "-n", systemNamespace, "--timeout=180s"]);
  }
  let all = 0;
  for (const one of pinging) {
    const { sent, received } = await one.stop();
    assert.ok(sent > 20);
    assert.equal(received, sent, `${sent} pings, ${sent - received} lost`);
    all += sent;
  }
  record(t, "agent, manager and forwarder of both nodes rolled under traffic", `0 of ${all} pings lost`, "0 lost");
}

async function deleteEndpoint(cluster: Cluster, t: TestContext): Promise<void> {
  const used = (await connectionOf(cluster, "client-0")).status?.endpoint ?? "";
  const endpoints = await podsOf(cluster, service);
  const gone = endpoints.find(({ metadata }) => used.startsWith(metadata.name));
  assert.ok(gone, `${used} is one of ${endpoints.map(({ metadata }) => metadata.name)}`);
  const path = pathOf(pods, { namespace: systemNamespace, name: gone.metadata.name });
  const startedMs = performance.now();
  await cluster.api.call({ method: "DELETE", path, body: { gracePeriodSeconds: 0 } });
  await eventually(
    "another endpoint",
    async () => ((await connectionOf(cluster, "client-0")).status?.endpoint ?? used) !== used,
    90_000,
  );
  await untilPing(cluster, "client-0");
  const tookMs = Math.round(performance.now() - startedMs);
  record(t, "an endpoint's pod is deleted: its client pings another", `after ${tookMs} ms`);
}

async function crashNode(cluster: Cluster, t: TestContext): Promise<void> {
  const [home, other] = cluster.nodes;
  assert.ok(home && other);
  // an endpoint on the other node only
  await applyEndpoints(cluster, { service: "crash", prefix: "172.16.71.0/24", replicas: 2 });
  await applyClient(cluster, { name: "survivor", node: home.name, service: "crash", mode: "node" });
  const atHome = (await podsOf(cluster, "crash")).find(({ spec }) => spec.nodeName === home.name)?.metadata.name ?? "";
  const away = (await podsOf(cluster, "crash")).find(({ spec }) => spec.nodeName === other.name)?.metadata.name ?? "";
  const used = (await connectionOf(cluster, "survivor")).status?.endpoint ?? "";
  if (used.startsWith(atHome)) {
    // sends it over: the near one goes away, and its successor must wait for a place
    await cluster.kubectl(["cordon", home.name]);
    await cluster.kubectl(["delete", "pod", atHome, "-n", systemNamespace, "--now"]);
    await eventually(
      "the far endpoint",
      async () => (await connectionOf(cluster, "survivor")).status?.endpoint?.startsWith(away) === true,
      90_000,
    );
    await untilPing(cluster, "survivor");
  }
  await cluster.kubectl(["uncordon", home.name]);
  await cluster.kubectl(["rollout", "status", "deployment/crash", "-n", systemNamespace, "--timeout=120s"]);
  const startedMs = performance.now();
  await other.crash();
  await eventually(
    "an endpoint at home",
    async () => !((await connectionOf(cluster, "survivor")).status?.endpoint ?? away).startsWith(away),
    120_000,
  );
  await untilPing(cluster, "survivor");
  const tookMs = performance.now() - startedMs;
  record(t, "a node crashes: its clients ping an endpoint elsewhere", `after ${(tookMs / 1_000).toFixed(1)} s`);
  await other.start();
  await cluster.untilReady(other);
  // the node has its parts again
  for (const name of (await cluster.kubectl(["get", "ds", "-n", systemNamespace, "-o", "name"])).trim().split("\n")) {
    await cluster.kubectl(["rollout", "status", name, "-n", systemNamespace, "--timeout=180s"]);
  }
}
