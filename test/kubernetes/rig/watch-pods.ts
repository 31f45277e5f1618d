/** When what happened to the pods of a namespace, on this process's clock: the status has whole seconds only. */

import { connectedCondition } from "../../../sdk/kubernetes/annotation.js";
import { listWatch } from "../../../sdk/kubernetes/list-watch.js";
import { pods } from "../../../sdk/kubernetes/resource.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import type { Cluster } from "./cluster/cluster.js";
import type { Pod } from "./pods.js";

/** The first time that a watch told of it, milliseconds of `performance.now()`. */
export interface PodTimes {
  readonly scheduled?: number;
  /** The client container, if it has one. */
  readonly client?: number;
  /** The workload's container runs. */
  readonly running?: number;
  /** Weft says that all services are connected. */
  readonly connected?: number;
  readonly ready?: number;
}

interface State {
  readonly name: string;
  readonly state?: { readonly running?: object };
}

export async function watchPods(
  cluster: Cluster,
  namespace: string,
): Promise<{ timesOf(name: string): PodTimes; stop(): Promise<void> }> {
  const times = new Map<string, PodTimes>();
  const watch = listWatch<Pod>({
    api: cluster.api,
    resource: pods,
    namespace,
    log: silentLog,
    onChange: ({ next }) => {
      if (next === undefined) return;
      const known = times.get(next.metadata.name) ?? {};
      times.set(next.metadata.name, { ...seen(next, performance.now()), ...known });
    },
  });
  await watch.synced(AbortSignal.timeout(30_000));
  return { timesOf: (name) => times.get(name) ?? {}, stop: () => watch.stop() };
}

function seen(pod: Pod, now: number): PodTimes {
  const { status } = pod as unknown as {
    status: { initContainerStatuses?: readonly State[]; containerStatuses?: readonly State[] };
  };
  const runs = (states: readonly State[] | undefined, wanted: (name: string) => boolean): boolean =>
    states?.some(({ name, state }) => wanted(name) && state?.running !== undefined) === true;
  const holds = (wanted: string): boolean =>
    pod.status.conditions?.some(({ type, status }) => type === wanted && status === "True") === true;
  const isClient = (name: string): boolean => name === "weft-client";
  return {
    ...(pod.spec.nodeName !== undefined && { scheduled: now }),
    ...(runs(status.initContainerStatuses, isClient) && { client: now }),
    ...(runs(status.containerStatuses, (name) => !isClient(name)) && { running: now }),
    ...(holds(connectedCondition) && { connected: now }),
    ...(holds("Ready") && { ready: now }),
  };
}
