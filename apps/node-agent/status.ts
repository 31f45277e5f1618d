/** What is told of a pod: its annotation and condition, and one Connection object for each service (pure). */

import { connectedCondition, statusAnnotation } from "../../sdk/kubernetes/annotation.js";
import type { KubernetesObject } from "../../sdk/kubernetes/resource.js";
import { formatServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { namesOf } from "../dns/sources.js";
import type { ServiceReport } from "./hold-pod.js";
import { clientNameOf, type PodWish } from "./wish.js";

export interface PodStatus {
  /** Value of the annotation: a list with one object for each service. Empty text = nothing is asked for. */
  readonly annotation: string;
  readonly connected: boolean;
  readonly reason: string;
  readonly message: string;
}

const maxMessage = 1_000;

export function podStatus({ problem }: PodWish, reports: readonly ServiceReport[]): PodStatus {
  const waiting = reports.filter(({ state }) => state !== "Connected" && state !== "Healing");
  const list = reports.map((report) => ({
    service: report.service.networkService,
    state: report.state,
    interface: report.interfaceName,
    addresses: addressesOf(report),
    ...(report.message === "" ? {} : { message: report.message.slice(0, maxMessage) }),
  }));
  const annotation = list.length === 0 ? "" : JSON.stringify(list);
  if (problem !== undefined)
    return { annotation, connected: false, reason: "AnnotationRefused", message: problem.slice(0, maxMessage) };
  const [first] = waiting;
  if (first === undefined) {
    const healing = reports.filter(({ state }) => state === "Healing").length;
    const message = healing === 0 ? "" : `${healing} of ${reports.length} connections are being healed`;
    return { annotation, connected: true, reason: healing === 0 ? "Connected" : "Healing", message };
  }
  const what = first.message === "" ? "" : `: ${first.message}`;
  const message = `${reports.length - waiting.length} of ${reports.length} services are connected; ${first.service.networkService} is not${what}`;
  return {
    annotation,
    connected: false,
    reason: first.state === "Failed" ? "Failed" : "Connecting",
    message: message.slice(0, maxMessage),
  };
}

/**
 * The one patch of a pod's status subresource that tells everything (strategic merge: conditions are joined by their type;
 * the API server takes annotations there, too). One and not two, because a kubelet looks at a pod once a second at most:
 * the second change would wait for the next look, and with it the pod for being Ready.
 */
export function podPatch(present: string | undefined, status: PodStatus, nowMs: number): object {
  const { annotation, connected, reason, message } = status;
  const condition = { type: connectedCondition, status: connected ? "True" : "False", reason, message };
  const same = (present ?? "") === annotation;
  return {
    ...(!same && { metadata: { annotations: { [statusAnnotation]: annotation === "" ? null : annotation } } }),
    status: { conditions: [{ ...condition, lastTransitionTime: new Date(nowMs).toISOString() }] },
  };
}

/** So long a pod may start before its own client, or the agent, is expected to have connected it. Milliseconds. */
const startMs = { node: 3_000, sidecar: 10_000 } as const;

/**
 * Whether the pod is starting, and nothing needs to be told of it yet. Each change of a pod makes its kubelet look at it
 * once more, after which it has no eyes for a second: what is told too early makes the pod Ready a second later.
 * @returns milliseconds after which it is asked again; 0 = tell
 */
export function earlyMs(pod: KubernetesObject, wish: PodWish, reports: readonly ServiceReport[], ageMs: number): number {
  if (wish.problem !== undefined || isReady(pod)) return 0;
  if (reports.some(({ state }) => state === "Failed" || state === "Healing")) return 0;
  // the kubelet waits for what a pod in mode node is told, and for nothing that a pod with a client is
  const done = wish.mode === "node" && reports.every(({ state }) => state === "Connected");
  return done ? 0 : Math.max(0, startMs[wish.mode] - ageMs);
}

export function isReady({ status }: KubernetesObject): boolean {
  const { conditions } = (status ?? {}) as { conditions?: readonly { readonly type: string; readonly status: string }[] };
  return conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;
}

/** Names are DNS labels joined by dots; a pod's name may fill what an object's name may have. */
export function connectionName({ name }: PodWish, key: string): string {
  return `${name.slice(0, 240)}-${key}`;
}

export const podUidLabel = "networkservicemesh.io/pod-uid";

export function connectionObject(wish: PodWish, report: ServiceReport, node: string): object {
  const { uid, name, namespace, mode } = wish;
  const { service, key } = report;
  return {
    apiVersion: "networkservicemesh.io/v1",
    kind: "Connection",
    metadata: {
      name: connectionName(wish, key),
      namespace,
      labels: { [podUidLabel]: uid, "app.kubernetes.io/managed-by": "weft" },
      // it goes with its pod
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name, uid, blockOwnerDeletion: false, controller: false }],
    },
    spec: {
      pod: name,
      node,
      networkService: service.networkService,
      mechanism: service.mechanism,
      interface: service.interfaceName,
      labels: service.labels,
      url: formatServiceUrl(service),
      mode,
    },
  };
}

export function connectionStatus(report: ServiceReport, sinceMs: number): object {
  const { connection, state, message } = report;
  const ip = connection?.context?.ip_context;
  const connected = state === "Connected" || state === "Healing";
  const since = new Date(sinceMs).toISOString();
  return {
    state,
    message,
    since,
    id: connection?.id ?? "",
    interface: report.interfaceName,
    addresses: addressesOf(report),
    peerAddresses: ip?.dst_ip_addrs ?? [],
    routes: (ip?.src_routes ?? []).map(({ prefix }) => prefix),
    names: namesOf(connection),
    endpoint: connection?.network_service_endpoint_name ?? "",
    path: (connection?.path?.path_segments ?? []).map(({ name }) => name),
    mtu: connection?.context?.MTU ?? 0,
    conditions: [{ type: "Connected", status: connected ? "True" : "False", reason: state, message, lastTransitionTime: since }],
  };
}

function addressesOf({ connection }: ServiceReport): readonly string[] {
  return connection?.context?.ip_context?.src_ip_addrs ?? [];
}

/** The reports of a pod whose own client connects it, by what the node's manager shows. */
export function sidecarReports(wish: PodWish, shown: Iterable<NonNullable<ServiceReport["connection"]>>): ServiceReport[] {
  const client = clientNameOf(wish.name, wish.namespace);
  const own = [...shown].filter(({ path }) => path?.path_segments[0]?.name === client);
  return [...wish.services].map(([key, service]) => {
    const nameOf = (connection: NonNullable<ServiceReport["connection"]>): string =>
      connection.mechanism?.parameters["name"] ?? "";
    const connection = own.find(
      (candidate) =>
        candidate.network_service === service.networkService &&
        (service.interfaceName === "" || nameOf(candidate) === service.interfaceName),
    );
    if (connection === undefined)
      return { key, service, state: "Connecting", message: "", connection, interfaceName: service.interfaceName };
    return { key, service, state: "Connected", message: "", connection, interfaceName: nameOf(connection) };
  });
}
