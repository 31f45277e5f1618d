/** What a pod wants of the agent, read from the object as the API server has it (pure). */
import { createHash } from "node:crypto";
import { connectedCondition, type Mode, modeOf, wantedBy } from "../../sdk/kubernetes/annotation.js";
import type { KubernetesObject } from "../../sdk/kubernetes/resource.js";
import { formatServiceUrl, type ServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { toStatusError } from "../../sdk/status.js";

export interface PodWish {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly mode: Mode;
  /** By the key of `keyOfService`. Empty: nothing is wanted (any more). */
  readonly services: ReadonlyMap<string, ServiceUrl>;
  /** What is wrong with the annotation, with the remedy; what there is stays as it is. */
  readonly problem: string | undefined;
}

/** Name of a pod's client in paths; its connections' ids begin so. The webhook gives it to sidecars as well. */
export function clientNameOf(name: string, namespace: string): string {
  return `${name}.${namespace}`;
}

/** Short, and the same for the same wish: the next agent takes a connection over by it. */
export function keyOfService(service: ServiceUrl): string {
  return createHash("sha256").update(formatServiceUrl(service)).digest("hex").slice(0, 10);
}

export function connectionId(uid: string, key: string): string {
  return `${uid}-${key}`;
}

/** Undefined: the pod has ended, has no uid, or never asked for anything. */
export function wishOf(pod: KubernetesObject, annotation: string): PodWish | undefined {
  const { uid, name, namespace = "default" } = pod.metadata;
  const status = (pod.status ?? {}) as { phase?: unknown };
  if (uid === undefined || status.phase === "Succeeded" || status.phase === "Failed") return undefined;
  const about = { uid, name, namespace };
  try {
    const mode = modeOf(pod.metadata) ?? "sidecar";
    const wanted = wantedBy(pod.metadata, annotation);
    const services = new Map((wanted?.services ?? []).map((service) => [keyOfService(service), service]));
    const hostNetwork = (pod.spec as { hostNetwork?: unknown } | undefined)?.hostNetwork === true;
    if (hostNetwork && mode === "node" && services.size > 0) {
      const problem = `the pod has hostNetwork: true, and its interfaces would be made in the node's own network; remove hostNetwork or the annotation ${annotation}`;
      return { ...about, mode, services: new Map(), problem };
    }
    return { ...about, mode, services, problem: undefined };
  } catch (error) {
    return { ...about, mode: "node", services: new Map(), problem: toStatusError(error).details };
  }
}

/** Whether the kubelet waits for us before it calls the pod Ready. */
export function isGated(pod: KubernetesObject): boolean {
  const gates = (pod.spec as { readinessGates?: readonly { conditionType?: unknown }[] } | undefined)?.readinessGates ?? [];
  return gates.some(({ conditionType }) => conditionType === connectedCondition);
}
