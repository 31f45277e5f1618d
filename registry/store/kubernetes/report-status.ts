/**
 * Tells on the objects themselves what the registry makes of them: the condition `Accepted`, the number of endpoints of a
 * service, and an event when an object cannot be used. Every replica says the same; who comes second finds it said.
 */

import type { NetworkService, NetworkServiceEndpoint } from "../../../sdk/gen/registry.js";
import type { KubernetesApi } from "../../../sdk/kubernetes/api.js";
import { type ApiError, isApiError } from "../../../sdk/kubernetes/api-error.js";
import type { ReportEvent } from "../../../sdk/kubernetes/report-event.js";
import { keyOf, pathOf } from "../../../sdk/kubernetes/resource.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { Entry } from "../../kind.js";
import { endpointObjects, type ObjectKind, type ReadObject, serviceObjects } from "./object.js";
import type { ObjectStore } from "./store.js";

/** meta/v1 Condition. */
interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly observedGeneration?: number;
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

interface Status {
  readonly endpoints?: number;
  readonly conditions?: readonly Condition[];
}

export interface StatusReporter {
  /** Waits for what is being written. */
  stop(): Promise<void>;
}

/** An object is looked at between these after its change: changes come in flocks, and replicas should not act at once. */
const minDelayMs = 100;
const maxDelayMs = 1_000;
const atOnce = 4;

export function reportStatus(
  stores: { readonly services: ObjectStore<NetworkService>; readonly endpoints: ObjectStore<NetworkServiceEndpoint> },
  options: { readonly api: KubernetesApi; readonly report: ReportEvent; readonly log: Log },
): StatusReporter {
  const { services, endpoints } = stores;
  const forService = reporter(services, serviceObjects, options, (entry) => ({
    endpoints: endpoints.table.select({ ...noEndpoint, network_service_names: [entry.name] }).length,
  }));
  const forEndpoint = reporter(endpoints, endpointObjects, options, () => ({}));
  services.onObject(forService.look);
  endpoints.onObject(forEndpoint.look);
  const unsubscribe = endpoints.table.subscribe(({ previous, next }) => {
    const before = new Set(previous?.network_service_names);
    const after = new Set(next?.network_service_names);
    for (const name of new Set([...before, ...after])) {
      if (before.has(name) !== after.has(name)) for (const { object } of services.names.all(name)) forService.look(object);
    }
  });
  return {
    async stop() {
      unsubscribe();
      await Promise.all([forService.stop(), forEndpoint.stop()]);
    },
  };
}

const noEndpoint: NetworkServiceEndpoint = {
  name: "",
  network_service_names: [],
  network_service_labels: {},
  url: "",
  path_ids: [],
};

function reporter<T extends Entry>(
  store: ObjectStore<T>,
  { kind, resource }: ObjectKind<T>,
  options: { readonly api: KubernetesApi; readonly report: ReportEvent; readonly log: Log },
  figures: (entry: T) => { readonly endpoints?: number },
) {
  const { api, report, log } = options;
  const due = new Map<string, NodeJS.Timeout>();
  const writing = new Set<Promise<void>>();
  let stopped = false;
  /** Why status cannot be written at all here. */
  let refused: string | undefined;

  function look(object: ReadObject<T>): void {
    const key = keyOf(object);
    if (stopped || due.has(key)) return;
    const delayMs = minDelayMs + Math.random() * (maxDelayMs - minDelayMs);
    due.set(
      key,
      setTimeout(() => run(key), delayMs),
    );
  }

  function run(key: string): void {
    due.delete(key);
    const object = store.names.byKey(key)?.object;
    if (stopped || object === undefined) return;
    if (writing.size >= atOnce || !store.watch.state.live) {
      look(object);
      return;
    }
    const written = write(object).finally(() => writing.delete(written));
    writing.add(written);
  }

  /** Accepted, or why not. */
  function verdict(object: ReadObject<T>): Pick<Condition, "status" | "reason" | "message"> {
    const standing = store.names.byKey(keyOf(object));
    if (object.problem !== undefined) {
      const still = standing?.entry === undefined ? "" : "; until then what it said before counts";
      return { status: "False", reason: "Invalid", message: `${object.problem}; correct it${still}` };
    }
    const name = standing?.entry?.name ?? "";
    const winner = store.names.winner(name)?.object;
    if (winner !== undefined && keyOf(winner) !== keyOf(object)) {
      const message = `the name ${name} is already used by ${resource.plural}/${winner.metadata.name} in namespace ${winner.metadata.namespace}; rename one of them`;
      return { status: "False", reason: "NameTaken", message };
    }
    return { status: "True", reason: "Registered", message: `the ${kind.noun} can be found as ${name}` };
  }

  async function write(object: ReadObject<T>): Promise<void> {
    const known = (typeof object.status === "object" && object.status !== null ? object.status : {}) as Status;
    const conditions = Array.isArray(known.conditions) ? (known.conditions as readonly Condition[]) : [];
    const before = conditions.find(({ type }) => type === "Accepted");
    const now = verdict(object);
    const entry = store.names.byKey(keyOf(object))?.entry;
    const numbers = now.status === "True" && entry !== undefined ? figures(entry) : {};
    const same = before?.status === now.status && before.reason === now.reason && before.message === now.message;
    // endpoints come and go by the thousand: only what is wrong with one is worth a write
    const unworthy = before === undefined && now.status === "True" && numbers.endpoints === undefined;
    if (unworthy || (same && numbers.endpoints === known.endpoints)) return;
    if (now.status === "False" && !same) await report({ object, type: "Warning", reason: now.reason, message: now.message });
    if (refused !== undefined) return;
    const generation = object.metadata.generation;
    const lastTransitionTime =
      before?.status === now.status ? before.lastTransitionTime : new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const accepted: Condition = {
      type: "Accepted",
      ...now,
      lastTransitionTime,
      ...(generation !== undefined && { observedGeneration: generation }),
    };
    const body = {
      metadata: { uid: object.metadata.uid },
      status: { ...numbers, conditions: [...conditions.filter(({ type }) => type !== "Accepted"), accepted] },
    };
    const { namespace = "", name } = object.metadata;
    const path = pathOf(resource, { namespace, name, subresource: "status" });
    await api.call({ method: "PATCH", path, body, timeoutMs: 5_000 }).catch((error: unknown) => failed(object, error));
  }

  function failed(object: ReadObject<T>, error: unknown): void {
    const { httpStatus } = isApiError(error) ? error : ({ httpStatus: 0 } as ApiError);
    if (httpStatus === 403 || httpStatus === 405 || (httpStatus === 404 && store.names.byKey(keyOf(object))?.object === object)) {
      refused = isApiError(error) ? error.details : "";
      log.warn("the registry writes no status: no right to, or the CRD is not the one in deploy/crds", { error });
    } else if (httpStatus !== 404 && httpStatus !== 409) {
      log.debug("a status could not be written", { object: keyOf(object), error });
      look(object);
    }
  }

  return {
    look,
    async stop() {
      stopped = true;
      for (const timer of due.values()) clearTimeout(timer);
      due.clear();
      await Promise.all(writing);
    },
  };
}
