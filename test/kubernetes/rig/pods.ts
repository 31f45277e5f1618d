/** Pods of a test. */
import { type KubernetesObject, pathOf, pods } from "../../../sdk/kubernetes/resource.js";
import { type Cluster, workloadImage } from "./cluster/cluster.js";
import { eventually } from "./eventually.js";

export interface PodWish {
  readonly name: string;
  readonly namespace?: string;
  /** Default: any. */
  readonly node?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Pod extends KubernetesObject {
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
  };
}

/** A pod that does nothing, with a shell and network tools in it. */
export async function applyPod(cluster: Cluster, wish: PodWish): Promise<void> {
  const { name, namespace = "default", node, labels = {}, annotations = {} } = wish;
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels, annotations },
    spec: {
      ...(node !== undefined && { nodeSelector: { "kubernetes.io/hostname": node } }),
      terminationGracePeriodSeconds: 1,
      containers: [{ name: "main", image: workloadImage, imagePullPolicy: "Never" }],
    },
  };
  await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(pod));
}

export async function untilPodReady(cluster: Cluster, name: string, namespace = "default", timeoutMs = 90_000): Promise<Pod> {
  let last: Pod | undefined;
  const look = async (): Promise<Pod | false> => {
    last = await cluster.api.call<Pod>({ path: pathOf(pods, { namespace, name }) });
    return last.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true && last;
  };
  return await eventually(`pod ${namespace}/${name} to be ready`, look, timeoutMs).catch(async (error: Error) => {
    const events = await cluster.kubectl(["get", "events", "-n", namespace, "--field-selector", `involvedObject.name=${name}`]);
    throw new Error(`${error.message}; ${JSON.stringify(last?.status)}\n${events}`, { cause: error });
  });
}

export async function podIp(cluster: Cluster, name: string, namespace = "default"): Promise<string> {
  const { status } = await untilPodReady(cluster, name, namespace);
  return status.podIP ?? "";
}
