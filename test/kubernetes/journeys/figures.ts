/** What Weft costs: time of a pod's start, time in the webhook, memory of a node. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connections, pathOf, pods } from "../../../sdk/kubernetes/resource.js";
import { noHelm } from "../helm.js";
import { type Cluster, workloadImage } from "../rig/cluster/cluster.js";
import type { ClusterNode } from "../rig/cluster/node.js";
import { eventually } from "../rig/eventually.js";
import { milliseconds, percentile, record } from "../rig/figures.js";
import { applyPod, untilPodReady } from "../rig/pods.js";
import { type PodTimes, watchPods } from "../rig/watch-pods.js";
import { applyEndpoints, type ConnectionObject } from "../rig/weft.js";

const service = "figures";
const namespace = "figures-journey";
const rounds = 10;
const modes = ["plain", "node", "sidecar"] as const;
type Mode = (typeof modes)[number];

export function figureJourneys(cluster: () => Cluster): void {
  const skip = noHelm();
  test("the time by which an annotation makes the start of a pod longer", { skip }, (t) => startUp(cluster(), t));
  test("the time that the webhook takes of each of 200 pods", { skip }, (t) => admission(cluster(), t));
  test("memory of a node with 100 connections, and of a sidecar", { skip }, (t) => memory(cluster(), t));
  test("what was made for the figures goes", { skip }, async () => {
    await cluster().kubectl(["delete", "namespace", namespace, "--wait"]);
    await cluster().kubectl(["delete", "deployment", service, "-n", "weft-system", "--wait"]);
  });
}

/** One after another, in turn, so that what else the machine does meets all modes alike. */
async function startUp(cluster: Cluster, t: TestContext): Promise<void> {
  await applyEndpoints(cluster, { service, prefix: "172.16.80.0/22", replicas: 2 });
  await cluster.kubectl(["create", "namespace", namespace]);
  const watch = await watchPods(cluster, namespace);
  const taken: Record<Mode, PodTimes[]> = { plain: [], node: [], sidecar: [] };
  try {
    // the first round warms what later ones find warm
    for (let round = 0; round <= rounds; round++) {
      // the kubelet looks at its containers once a second: each round meets another moment of that second
      const pauseMs = (round / rounds) * 1_000;
      for (const mode of modes) {
        const name = `${mode}-${round}`;
        await sleep(pauseMs);
        const from = performance.now();
        await cluster.api.call({ method: "POST", path: pathOf(pods, { namespace }), body: pod(name, mode) });
        await eventually(`pod ${name} to be ready`, () => watch.timesOf(name).ready !== undefined, 60_000, 20);
        if (round > 0) taken[mode].push(since(from, watch.timesOf(name)));
        await cluster.api.call({ method: "DELETE", path: pathOf(pods, { namespace, name }), body: { gracePeriodSeconds: 0 } });
      }
    }
  } finally {
    await watch.stop();
  }
  for (const mode of modes) t.diagnostic(`${mode}: ${timeline(taken[mode])}`);
  const extra = (mode: Mode): number[] => taken[mode].map(({ ready = 0 }, round) => ready - (taken.plain[round]?.ready ?? 0));
  for (const mode of modes) assert.equal(taken[mode].length, rounds);
  record(t, "pod Ready, without annotation", milliseconds(taken.plain.map(({ ready = 0 }) => ready)));
  record(t, "later with the annotation, mode `node`", milliseconds(extra("node")), "500 ms p50, 1000 ms p99");
  record(t, "later with the annotation, mode `sidecar`", milliseconds(extra("sidecar")), "2000 ms p50, 4000 ms p99");
}

function since(from: number, times: PodTimes): PodTimes {
  return Object.fromEntries(Object.entries(times).map(([key, value]) => [key, value - from]));
}

/** Medians, in the order in which they are told. */
function timeline(all: readonly PodTimes[]): string {
  const keys = ["scheduled", "client", "connected", "running", "ready"] as const;
  return keys
    .map((key) => ({ key, values: all.flatMap((times) => times[key] ?? []) }))
    .filter(({ values }) => values.length > 0)
    .map(({ key, values }) => `${key} ${Math.round(percentile(values, 50))} ms`)
    .join(", ");
}

function pod(name: string, mode: Mode): object {
  const wish = { "networkservicemesh.io": `kernel://${service}/nsm-1`, "networkservicemesh.io/mode": mode };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, ...(mode !== "plain" && { annotations: wish }) },
    spec: {
      nodeSelector: { "kubernetes.io/hostname": "node-1" },
      terminationGracePeriodSeconds: 0,
      containers: [{ name: "main", image: workloadImage, imagePullPolicy: "Never" }],
    },
  };
}

/** The pods are admitted, and by the server's dry run never made. */
async function admission(cluster: Cluster, t: TestContext): Promise<void> {
  const create = async (name: string, mode: Mode): Promise<number> => {
    const from = performance.now();
    const query = { dryRun: "All" };
    const made = await cluster.api.call<{ spec: { initContainers?: object[] } }>({
      method: "POST",
      path: pathOf(pods, { namespace }),
      query,
      body: pod(name, mode),
    });
    const tookMs = performance.now() - from;
    assert.equal(made.spec.initContainers?.length ?? 0, mode === "sidecar" ? 1 : 0);
    return tookMs;
  };
  for (let i = 0; i < 20; i++) await create(`warm-${i}`, "sidecar");
  const times: number[] = [];
  const plain: number[] = [];
  for (let i = 0; i < 200; i++) {
    plain.push(await create(`plain-${i}`, "plain"));
    times.push(await create(`admitted-${i}`, "sidecar"));
  }
  record(t, "one of 200 pods without annotation through the same", milliseconds(plain));
  record(t, "one of 200 annotated pods through API server and webhook", milliseconds(times), "10 ms p50, 50 ms p99");
}

async function memory(cluster: Cluster, t: TestContext): Promise<void> {
  const [node] = cluster.nodes;
  assert.ok(node);
  const each = 25;
  const names = Array.from({ length: 4 }, (_, index) => `many-${index}`);
  for (const name of names) {
    const urls = Array.from({ length: each }, (_, index) => `kernel://${service}/many-${index}`);
    const annotations = { "networkservicemesh.io": urls.join(), "networkservicemesh.io/mode": "node" };
    await applyPod(cluster, { name, namespace, node: node.name, annotations });
  }
  await eventually(
    "100 connections",
    async () => {
      const { items } = await cluster.api.call<{ items: ConnectionObject[] }>({ path: pathOf(connections, { namespace }) });
      const up = items.filter(({ spec, status }) => names.includes(spec.pod) && status?.state === "Connected");
      return up.length === names.length * each;
    },
    180_000,
    1_000,
  );
  for (const name of names) await untilPodReady(cluster, name, namespace);
  const [nsmgr, forwarder] = [await residentMb(node, "nsmgr"), await residentMb(node, "forwarder")];
  record(
    t,
    "nsmgr and forwarder of a node with 100 connections",
    `${nsmgr} + ${forwarder} = ${nsmgr + forwarder} MB`,
    "200 MB resident",
  );
  record(t, "agent of that node", `${await residentMb(node, "agent")} MB`);
  const annotations = { "networkservicemesh.io": `kernel://${service}/nsm-1`, "networkservicemesh.io/mode": "sidecar" };
  await applyPod(cluster, { name: "weighed", namespace, node: node.name, annotations });
  await untilPodReady(cluster, "weighed", namespace);
  record(t, "a pod's sidecar", `${await residentMb(node, "weighed")} MB`, "80 MB resident");
}

/** Of the one process on the node whose NSM_NAME begins so. */
async function residentMb(node: ClusterNode, name: string): Promise<number> {
  const script = `for p in /proc/[0-9]*; do if tr '\\0' '\\n' <$p/environ 2>/dev/null | grep -qE '^NSM_NAME=${name}[-.]'; then
    if tr '\\0' ' ' <$p/cmdline | grep -q main.mjs; then grep VmRSS $p/status; fi; fi; done`;
  const found = [...(await node.run(["sh", "-c", script])).matchAll(/VmRSS:\s+(\d+) kB/g)];
  assert.equal(found.length, 1, `one process ${name} on ${node.name}`);
  return Math.round(Number(found[0]?.[1]) / 1024);
}
