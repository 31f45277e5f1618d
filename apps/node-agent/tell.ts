/** Writes what is told of one pod to the API server: what differs from what was written last, soon, again until it is there. */

import { statusAnnotation } from "../../sdk/kubernetes/annotation.js";
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import { isApiError } from "../../sdk/kubernetes/api-error.js";
import type { ReportEvent } from "../../sdk/kubernetes/report-event.js";
import { connections, type KubernetesObject, pathOf, pods } from "../../sdk/kubernetes/resource.js";
import { toStatusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import type { ServiceReport } from "./hold-pod.js";
import {
  connectionName,
  connectionObject,
  connectionStatus,
  earlyMs,
  isReady,
  type PodStatus,
  podPatch,
  podStatus,
  podUidLabel,
} from "./status.js";
import type { PodWish } from "./wish.js";

export interface Teller {
  /** Tell what `look` gives, soon. */
  changed(): void;
  /** The pod as the watch has it now. */
  learn(pod: KubernetesObject): void;
  stop(): void;
}

export interface TellOptions {
  readonly api: KubernetesApi;
  readonly node: string;
  readonly reportEvent: ReportEvent;
  readonly log: Log;
  readonly pod: KubernetesObject;
  /** The state of affairs. */
  readonly look: () => { readonly wish: PodWish; readonly reports: readonly ServiceReport[] };
}

const fieldManager = "weft-agent";
/** Several changes at once are told together. */
const gatherMs = 20;
const firstPauseMs = 500;
const longestPauseMs = 30_000;

export function createTeller(options: TellOptions): Teller {
  const { api, node, look, log } = options;
  let { pod } = options;
  let timer: NodeJS.Timeout | undefined;
  let dueMs = 0;
  let stopped = false;
  let pauseMs = firstPauseMs;
  let busy = false;
  let again = false;
  let toldOfPod = "";
  let toldProblem = "";
  /** By key: what was written of a Connection object, and since when its state is what it is. */
  const written = new Map<string, { spec: string; status: string; state: string; sinceMs: number }>();
  /** A pod of which nothing has ever been told has no Connection objects of services that it does not want any more. */
  let swept = pod.metadata.annotations?.[statusAnnotation] === undefined;
  const sinceMs = Date.now();

  /** Tells after so long at the latest. */
  function arm(ms: number): void {
    if (stopped) return;
    const atMs = Date.now() + ms;
    if (timer !== undefined && dueMs <= atMs) return;
    clearTimeout(timer);
    dueMs = atMs;
    timer = setTimeout(() => {
      timer = undefined;
      void tell();
    }, ms);
  }

  async function tell(): Promise<void> {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      await write();
      pauseMs = firstPauseMs;
    } catch (error) {
      if (isApiError(error) && error.httpStatus === 404) return; // the pod has gone
      log.warn("the status of a pod could not be told; trying again", { pod: pod.metadata.name, error: toStatusError(error) });
      arm(pauseMs);
      pauseMs = Math.min(longestPauseMs, pauseMs * 2);
    } finally {
      busy = false;
      if (again) arm(gatherMs);
      again = false;
    }
  }

  async function write(): Promise<void> {
    const { wish, reports } = look();
    const early = earlyMs(pod, wish, reports, Date.now() - sinceMs);
    // first what the kubelet waits for
    if (early === 0) await writePod(wish, podStatus(wish, reports));
    else arm(early);
    const told = early === 0 ? reports : reports.filter(({ connection }) => connection !== undefined);
    await Promise.all(told.map((report) => writeConnection(wish, report)));
    if (early > 0) return;
    await sweep(wish);
    await warn(wish, reports);
  }

  async function writePod({ namespace, name }: PodWish, status: PodStatus): Promise<void> {
    const { connected, reason, message, annotation } = status;
    const text = JSON.stringify([connected, reason, message, annotation]);
    const present = pod.metadata.annotations?.[statusAnnotation];
    if (text === toldOfPod && (present ?? "") === annotation) return;
    const path = pathOf(pods, { namespace, name, subresource: "status" });
    const body = podPatch(present, status, Date.now());
    pod = await api.call<KubernetesObject>({ method: "PATCH", patch: "strategic", path, body });
    toldOfPod = text;
  }

  async function writeConnection(wish: PodWish, report: ServiceReport): Promise<void> {
    const { namespace } = wish;
    const name = connectionName(wish, report.key);
    const before = written.get(report.key);
    const sinceMs = before?.state === report.state ? before.sinceMs : Date.now();
    const object = connectionObject(wish, report, node);
    const status = connectionStatus(report, sinceMs);
    const next = { spec: JSON.stringify(object), status: JSON.stringify(status), state: report.state, sinceMs };
    const apply = (subresource: string | undefined, body: object): Promise<unknown> =>
      api.call({
        method: "PATCH",
        patch: "apply",
        path: pathOf(connections, { namespace, name, ...(subresource === undefined ? {} : { subresource }) }),
        query: { fieldManager, force: true },
        body,
      });
    if (before?.spec !== next.spec) await apply(undefined, object);
    if (before?.status !== next.status) {
      const { apiVersion, kind } = object as { apiVersion: string; kind: string };
      await apply("status", { apiVersion, kind, metadata: { name, namespace }, status });
    }
    written.set(report.key, next);
  }

  /** Removes the Connection objects of services that are not asked for any more. */
  async function sweep(wish: PodWish): Promise<void> {
    if (wish.problem !== undefined) return;
    const path = (name?: string): string =>
      pathOf(connections, { namespace: wish.namespace, ...(name === undefined ? {} : { name }) });
    const gone = new Set([...written.keys()].filter((key) => !wish.services.has(key)).map((key) => connectionName(wish, key)));
    if (!swept) {
      const labelSelector = `${podUidLabel}=${wish.uid}`;
      const { items } = await api.call<{ items: KubernetesObject[] }>({ path: path(), query: { labelSelector } });
      const wanted = new Set([...wish.services.keys()].map((key) => connectionName(wish, key)));
      for (const { metadata } of items) if (!wanted.has(metadata.name)) gone.add(metadata.name);
      swept = true;
    }
    for (const name of gone) {
      await api.call({ method: "DELETE", path: path(name) }).catch((error: unknown) => {
        if (!isApiError(error) || error.httpStatus !== 404) throw error;
      });
    }
    for (const key of [...written.keys()]) if (!wish.services.has(key)) written.delete(key);
  }

  /** An event for each new problem. */
  async function warn(wish: PodWish, reports: readonly ServiceReport[]): Promise<void> {
    const problems = [
      ...(wish.problem === undefined ? [] : [{ reason: "AnnotationRefused", message: wish.problem }]),
      ...reports
        .filter(({ message, state }) => message !== "" && (state === "Failed" || state === "Connecting"))
        .map(({ service, message }) => ({ reason: "NotConnected", message: `${service.networkService}: ${message}` })),
    ];
    const text = JSON.stringify(problems);
    if (text === toldProblem) return;
    toldProblem = text;
    const object = { ...pod, apiVersion: "v1", kind: "Pod" };
    for (const problem of problems) await options.reportEvent({ object, type: "Warning", ...problem });
  }

  function changed(): void {
    if (busy) again = true;
    else arm(gatherMs);
  }

  return {
    changed,
    learn(next) {
      const wasReady = isReady(pod);
      pod = next;
      if (isReady(next) && !wasReady) changed();
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
