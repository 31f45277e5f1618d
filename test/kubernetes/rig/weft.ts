/** Weft on the test cluster: installed once for all journeys, and workloads for it. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parseAllDocuments } from "yaml";
import { connections, type KubernetesObject, pathOf, pods } from "../../../sdk/kubernetes/resource.js";
import { chart, helm, template } from "../helm.js";
import type { Cluster } from "./cluster/cluster.js";
import { eventually } from "./eventually.js";
import { applyPod, type Pod, type PodWish, untilPodReady } from "./pods.js";

export const systemNamespace = "weft-system";
const execute = promisify(execFile);
const packer = fileURLToPath(new URL("../../../deploy/images/pack.mjs", import.meta.url));

/** Puts the images of Weft onto every node. */
export async function loadWeftImages(cluster: Cluster): Promise<void> {
  const out = join(cluster.dir, "images");
  await execute(process.execPath, [packer, "--out", out], { maxBuffer: 1e8 });
  await cluster.importImages(join(out, "weft-images.tar"));
}

/** helm install, until all is Ready. */
export async function installWeft(cluster: Cluster, ...values: readonly string[]): Promise<void> {
  const sets = ["image.pullPolicy=Never", ...values].flatMap((value) => ["--set", value]);
  const args = [
    "install",
    "weft",
    chart,
    "--namespace",
    systemNamespace,
    "--create-namespace",
    "--wait",
    "--timeout",
    "5m",
    ...sets,
  ];
  await helm(args, cluster.kubeconfig).catch(async (error: Error) => {
    const state = await cluster.kubectl(["get", "pods,events", "-n", systemNamespace, "-o", "wide"]);
    throw new Error(`${error.message}\n${state}`, { cause: error });
  });
}

interface Deployment extends KubernetesObject {
  readonly metadata: KubernetesObject["metadata"] & { readonly labels: Record<string, string> };
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Record<string, string> };
      readonly spec: { readonly containers: readonly { readonly env: { name: string; value?: string }[] }[] };
    };
  };
}

/** An endpoint's Deployment as `helm test` has it: one pod on each of so many nodes, that answer pings from `prefix`. */
export async function applyEndpoints(
  cluster: Cluster,
  wish: { readonly service: string; readonly prefix: string; readonly replicas: number },
): Promise<void> {
  const documents = parseAllDocuments(await template("image.pullPolicy=Never")).map((one) => one.toJS() as Deployment | null);
  const found = documents.find((one) => one?.kind === "Deployment" && one.metadata.name === "weft-test-endpoint");
  if (found === undefined || found === null) throw new Error("the chart has no Deployment weft-test-endpoint");
  const { template: pod } = found.spec;
  const changes: Readonly<Record<string, string>> = { NSM_SERVICE_NAMES: wish.service, NSM_CIDR_PREFIX: wish.prefix };
  const labels = { app: wish.service };
  const spread = {
    maxSkew: 1,
    topologyKey: "kubernetes.io/hostname",
    whenUnsatisfiable: "DoNotSchedule",
    labelSelector: { matchLabels: labels },
  };
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: wish.service, namespace: systemNamespace },
    spec: {
      replicas: wish.replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels: { ...pod.metadata.labels, ...labels } },
        spec: {
          ...pod.spec,
          terminationGracePeriodSeconds: 10,
          topologySpreadConstraints: [spread],
          containers: pod.spec.containers.map((container) => ({
            ...container,
            env: container.env.map((one) =>
              changes[one.name] === undefined ? one : { name: one.name, value: changes[one.name] },
            ),
          })),
        },
      },
    },
  };
  await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(deployment));
  await cluster.kubectl(["rollout", "status", `deployment/${wish.service}`, "-n", systemNamespace, "--timeout=120s"]);
}

export interface ConnectionObject extends KubernetesObject {
  readonly spec: { readonly pod: string; readonly networkService: string };
  readonly status?: {
    readonly state?: string;
    readonly interface?: string;
    readonly peerAddresses?: readonly string[];
    readonly endpoint?: string;
    readonly message?: string;
  };
}

/** A pod with one connection, and where its peer is. */
export async function applyClient(
  cluster: Cluster,
  wish: PodWish & { readonly service: string; readonly mode: string },
): Promise<void> {
  const annotations = {
    "networkservicemesh.io": `kernel://${wish.service}/nsm-1`,
    "networkservicemesh.io/mode": wish.mode,
    ...wish.annotations,
  };
  await applyPod(cluster, { ...wish, annotations });
  await untilPodReady(cluster, wish.name, wish.namespace, 120_000);
}

export async function connectionOf(cluster: Cluster, pod: string, namespace = "default"): Promise<ConnectionObject> {
  return await eventually(
    `the connection of pod ${pod}`,
    async () => {
      const { items } = await cluster.api.call<{ items: ConnectionObject[] }>({ path: pathOf(connections, { namespace }) });
      const own = items.find(({ spec }) => spec.pod === pod);
      return own?.status?.state === "Connected" && own;
    },
    60_000,
  );
}

export async function peerOf(cluster: Cluster, pod: string, namespace = "default"): Promise<string> {
  const { status } = await connectionOf(cluster, pod, namespace);
  return (status?.peerAddresses?.[0] ?? "").replace(/\/\d+$/, "");
}

/** For the message of a failure: all connections, and what the parts of each node wrote last. */
export async function stateOf(cluster: Cluster): Promise<string> {
  const all = [await cluster.kubectl(["get", "connections", "-A", "-o", "yaml"])];
  const parts = "app.kubernetes.io/name in (agent,nsmgr,forwarder)";
  const names = await cluster.kubectl(["get", "pods", "-n", systemNamespace, "-l", parts, "-o", "name"]);
  for (const name of names.trim().split("\n")) {
    const said = await cluster.kubectl(["logs", "-n", systemNamespace, name, "--tail=80"]);
    all.push(`=== ${name}\n${said}`);
  }
  return all.join("\n");
}

export interface Pinging {
  /** Ends it. @returns what was sent and what came back, but for one that is on its way at the end: that is no loss */
  stop(): Promise<{ readonly sent: number; readonly received: number }>;
}

/** Five pings a second out of a pod, until told to stop. */
export async function startPings(cluster: Cluster, pod: string, peer: string): Promise<Pinging> {
  const inPod = (script: string): Promise<string> => cluster.kubectl(["exec", pod, "--", "sh", "-c", script]);
  await inPod(`ping -i 0.2 -I nsm-1 ${peer} >/tmp/pings 2>&1 & echo $! >/tmp/pinging`);
  return {
    async stop() {
      const text = await inPod("kill -INT $(cat /tmp/pinging); sleep 1; cat /tmp/pings");
      const found = /(\d+) packets transmitted, (\d+) packets received/.exec(text);
      if (found === null) throw new Error(`no end of the pings: ${text.slice(-500)}`);
      const [sent, received] = [Number(found[1]), Number(found[2])];
      const lastCame = new RegExp(`seq=${sent - 1} `).test(text);
      return { sent: lastCame ? sent : sent - 1, received };
    },
  };
}

/** One ping that must be answered; tried again until then. */
export async function untilPing(cluster: Cluster, pod: string, timeoutMs = 60_000): Promise<void> {
  await eventually(
    `a ping of pod ${pod} to be answered`,
    async () => {
      const peer = await peerOf(cluster, pod);
      const answer = await cluster.kubectl(["exec", pod, "--", "ping", "-c", "1", "-W", "1", "-I", "nsm-1", peer]);
      return answer.includes("1 packets received");
    },
    timeoutMs,
  );
}

export async function podsOf(cluster: Cluster, app: string, namespace = systemNamespace): Promise<Pod[]> {
  const query = { labelSelector: `app=${app}` };
  return (await cluster.api.call<{ items: Pod[] }>({ path: pathOf(pods, { namespace }), query })).items;
}
