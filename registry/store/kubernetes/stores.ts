/** A registry's entries as custom resources of Kubernetes: see docs/decisions/0012-registry-on-kubernetes.md. */
import type { Clock } from "../../../sdk/clock.js";
import { createKubernetesApi } from "../../../sdk/kubernetes/api.js";
import { isApiError } from "../../../sdk/kubernetes/api-error.js";
import type { ApiConnection } from "../../../sdk/kubernetes/connection.js";
import type { ListWatchState, Timing } from "../../../sdk/kubernetes/list-watch.js";
import { createEventReporter } from "../../../sdk/kubernetes/report-event.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { Stores } from "../store.js";
import { endpointObjects, serviceObjects } from "./object.js";
import { reportStatus } from "./report-status.js";
import { openObjectStore } from "./store.js";

export interface KubernetesStoresOptions {
  readonly connection: ApiConnection;
  /** Of this replica, in events. */
  readonly name: string;
  /** Where new objects go. */
  readonly namespace: string;
  /** Read objects of that namespace only, so that a Role is enough. Default: of all, as NSM. */
  readonly onlyNamespace?: boolean;
  readonly leasePeriodMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the wait for the first list. */
  readonly signal: AbortSignal;
  readonly timing?: Partial<Timing>;
}

/**
 * Opens the store and reads everything. Waits as long as the API server refuses or is away, and logs why: a right that
 * is granted later, or a CRD that is installed later, needs no restart.
 * @throws the last problem when the signal aborts
 */
export async function openKubernetesStores(options: KubernetesStoresOptions): Promise<Stores> {
  const { connection, namespace, log, signal } = options;
  const api = createKubernetesApi(connection, { userAgent: `weft-registry/${options.name}` });
  const explain = (plural: string) => (state: ListWatchState) => {
    if (state.synced || !isApiError(state.problem) || state.problem.httpStatus !== 404) return;
    log.error(`the cluster has no ${plural}.networkservicemesh.io: install the CRDs (kubectl apply -f deploy/crds)`);
  };
  const common = { ...options, api, onlyNamespace: options.onlyNamespace ? namespace : undefined };
  const services = openObjectStore(serviceObjects, { ...common, onState: explain("networkservices") });
  const endpoints = openObjectStore(endpointObjects, { ...common, onState: explain("networkserviceendpoints") });
  const report = createEventReporter({ api, component: "weft-registry", instance: options.name, log });
  const status = reportStatus({ services, endpoints }, { api, report, log });
  const close = async (): Promise<void> => {
    await status.stop();
    await Promise.all([services.close(), endpoints.close()]);
    api.close();
  };
  try {
    await Promise.all([services.watch.synced(signal), endpoints.watch.synced(signal)]);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    services,
    endpoints,
    staleness() {
      const states = [services.watch.state, endpoints.watch.state].filter(({ live }) => !live);
      if (states.length === 0) return undefined;
      const sinceMs = Math.min(...states.map((state) => state.sinceMs));
      return { sinceMs, why: states.find(({ problem }) => problem !== undefined)?.problem?.details ?? "the watch is starting" };
    },
    close,
  };
}
