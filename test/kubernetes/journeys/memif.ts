/** memif between pods: the packet core on every node, and pods without any right that speak through it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { coreProgram } from "../../../forwarder/native/keeper-client.js";
import { pathOf, pods } from "../../../sdk/kubernetes/resource.js";
import { chart, helm, noHelm } from "../helm.js";
import type { Cluster } from "../rig/cluster/cluster.js";
import { eventually } from "../rig/eventually.js";
import { untilPodReady } from "../rig/pods.js";
import { systemNamespace } from "../rig/weft.js";

const namespace = "memif-journey";
const endpoint = "echo";

export function memifJourneys(cluster: () => Cluster): void {
  const noCore = !existsSync(coreProgram()) && "the packet core is not built: npm run build:native";
  test(
    "memif: pods of one node and of two ping an endpoint, and a new forwarder loses none of it",
    {
      skip: noHelm() || noCore,
    },
    () => memif(cluster()),
  );
}

async function memif(cluster: Cluster): Promise<void> {
  const at = ["--namespace", systemNamespace, "--wait", "--timeout", "5m"];
  await helm(["upgrade", "weft", chart, "--reuse-values", "--set", "forwarder.dataplane=auto", ...at], cluster.kubeconfig);
  await rolled(cluster, "weft-core", "weft-forwarder");
  await cluster.kubectl(["create", "namespace", namespace]);
  await apply(cluster, endpoint, "node-1", ["memif", "echo", "fast", "--cidr", "10.60.0.0/24"], "Always");
  await untilPodReady(cluster, endpoint, namespace);
  for (const node of cluster.nodes) {
    const name = `ping-${node.name}`;
    await apply(cluster, name, node.name, ["memif", "ping", "fast", "--count", "20"], "Never");
    assertAll(await told(cluster, name));
  }
  // a stream of pings for about half a minute, through the forwarder's end and its successor's start
  await apply(cluster, "steady", "node-1", ["memif", "ping", "fast", "--count", "150", "--seconds", "60"], "Never");
  await untilPodReady(cluster, "steady", namespace);
  await cluster.kubectl(["rollout", "restart", "daemonset/weft-forwarder", "-n", systemNamespace]);
  await rolled(cluster, "weft-forwarder");
  assertAll(await told(cluster, "steady"));
  await cluster.kubectl(["delete", "namespace", namespace, "--wait"]);
  await helm(["upgrade", "weft", chart, "--reuse-values", "--set", "forwarder.dataplane=kernel", ...at], cluster.kubeconfig);
}

async function rolled(cluster: Cluster, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const path = `/apis/apps/v1/namespaces/${systemNamespace}/daemonsets/${name}`;
    await eventually(
      `${name} on every node`,
      async () => {
        const { status, metadata } = await cluster.api.call<DaemonSet>({ path });
        const done = status.numberReady === cluster.nodes.length && status.observedGeneration === metadata.generation;
        return done && (name === "weft-core" || status.updatedNumberScheduled === cluster.nodes.length);
      },
      120_000,
    );
  }
}

interface DaemonSet {
  readonly metadata: { readonly generation: number };
  readonly status: {
    readonly numberReady: number;
    readonly observedGeneration: number;
    readonly updatedNumberScheduled?: number;
  };
}

interface Ended {
  readonly status: { readonly phase: string };
}

/** What the pod wrote, once it has ended well. */
async function told(cluster: Cluster, name: string): Promise<string> {
  const path = pathOf(pods, { namespace, name });
  const logs = (): Promise<string> => cluster.kubectl(["-n", namespace, "logs", name]);
  await eventually(
    `${name} to end`,
    async () => {
      const { status } = await cluster.api.call<Ended>({ path });
      if (status.phase === "Failed") throw new Error(await logs());
      return status.phase === "Succeeded";
    },
    90_000,
  ).catch(async (error: Error) => {
    throw new Error(`${error.message}\n${await logs()}`, { cause: error });
  });
  return await logs();
}

function assertAll(said: string): void {
  const lines = said
    .trim()
    .split("\n")
    .filter((line) => line.startsWith("{"));
  const last = JSON.parse(lines.at(-1) ?? "{}") as { sent?: number; received?: number };
  assert.ok((last.sent ?? 0) > 0, said);
  assert.equal(last.received, last.sent, said);
}

/** A pod with the socket of its node's manager, a name and an identity, and nothing more. */
async function apply(
  cluster: Cluster,
  name: string,
  node: string,
  args: readonly string[],
  restartPolicy: "Always" | "Never",
): Promise<void> {
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, annotations: { "networkservicemesh.io/endpoint": "true" } },
    spec: {
      nodeSelector: { "kubernetes.io/hostname": node },
      restartPolicy,
      terminationGracePeriodSeconds: 1,
      containers: [{ name: "main", image: "ghcr.io/weft/cli:0.1.0", imagePullPolicy: "Never", args }],
    },
  };
  await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(pod));
}
