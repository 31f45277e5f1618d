/**
 * Events on objects (`kubectl describe`, `kubectl get events`): what is wrong with an object, where its owner looks.
 * The same event within an hour raises a count instead of making another; an event that cannot be written is logged, no
 * more: it is news about trouble, not a reason for more of it.
 */
import { createHash } from "node:crypto";
import type { Log } from "../telemetry/log.js";
import type { KubernetesApi } from "./api.js";
import { isApiError } from "./api-error.js";
import { events, type KubernetesObject, pathOf } from "./resource.js";

export interface EventReport {
  /** What it is about; without namespace (nodes) the event goes to "default". */
  readonly object: KubernetesObject;
  readonly type: "Normal" | "Warning";
  /** One word in CamelCase, for machines. */
  readonly reason: string;
  /** What is wrong and what to do. */
  readonly message: string;
}

/** Writes one event. Never rejects. */
export type ReportEvent = (report: EventReport) => Promise<void>;

/** API validation, core/v1 Event. */
const maxMessage = 1_024;
const hourMs = 3_600_000;

/** @param options.component  who reports, for example "weft-registry" */
export function createEventReporter(options: {
  readonly api: KubernetesApi;
  readonly component: string;
  readonly instance: string;
  readonly log: Log;
}): ReportEvent {
  const { api, component, instance, log } = options;
  return async ({ object, type, reason, message }) => {
    const { name, namespace = "default", uid = "" } = object.metadata;
    const nowMs = Date.now();
    const identity = [component, object.kind, namespace, name, uid, reason, message, Math.floor(nowMs / hourMs)].join("\0");
    // equal for equal events, of all replicas too
    const suffix = createHash("sha256").update(identity).digest("hex").slice(0, 16);
    const eventName = `${name.slice(0, 230)}.${suffix}`;
    const now = new Date(nowMs).toISOString().replace(/\.\d+Z$/, "Z");
    const body = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: eventName, namespace },
      involvedObject: {
        apiVersion: object.apiVersion,
        kind: object.kind,
        name,
        ...(object.metadata.namespace !== undefined && { namespace }),
        uid,
        resourceVersion: object.metadata.resourceVersion,
      },
      type,
      reason,
      message: message.length > maxMessage ? `${message.slice(0, maxMessage - 1)}…` : message,
      source: { component, host: instance },
      reportingComponent: component,
      reportingInstance: instance,
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    try {
      await api.call({ method: "POST", path: pathOf(events, { namespace }), body }).catch(async (error: unknown) => {
        if (!isApiError(error) || error.reason !== "AlreadyExists") throw error;
        const path = pathOf(events, { namespace, name: eventName });
        const { count = 1 } = await api.call<{ count?: number }>({ path });
        await api.call({ method: "PATCH", path, body: { count: count + 1, lastTimestamp: now } });
      });
    } catch (error) {
      log.warn("an event could not be written", { object: `${object.kind} ${namespace}/${name}`, reason, text: message, error });
    }
  };
}
