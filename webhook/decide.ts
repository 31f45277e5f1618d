/**
 * What becomes of an object that is about to be written (pure): it is refused, left alone, or gets additions.
 *
 * Workloads (Deployment, Job, …) hand their annotations down to the pods they make; only a Pod gets containers. So a pod
 * is given a client once, whichever way it came to be, and a changed annotation of a Deployment rolls its pods.
 */

import {
  connectedCondition,
  endpointAnnotation,
  type Mode,
  modeAnnotation,
  modeOf,
  ownText,
  type Wanted,
  wantedBy,
} from "../sdk/kubernetes/annotation.js";
import { toStatusError } from "../sdk/status.js";
import { equipEndpoint } from "./endpoint.js";
import { hasClient, injection } from "./inject.js";
import { type Patch, patchOf } from "./json-patch.js";
import { at, type ObjectMeta, type PatchOperation, type Pod, readMeta, readPod } from "./objects.js";
import type { SidecarSettings } from "./sidecar-settings.js";

export interface Review {
  readonly uid: string;
  readonly kind: string;
  readonly operation: string;
  readonly namespace: string;
  readonly object: unknown;
  /** On UPDATE: what is there now. */
  readonly oldObject: unknown;
}

export interface Surroundings {
  /** Annotations and labels of the object's namespace; undefined = not known. */
  readonly namespace: ObjectMeta | undefined;
  readonly defaultMode: Mode;
  /** Containers can be sidecars among the init containers. */
  readonly native: boolean;
  /** The node has CSI drivers for the sockets: sidecars work where host paths are forbidden. */
  readonly csi: boolean;
  readonly annotation: string;
  readonly sidecar: SidecarSettings;
}

export interface Allowed {
  readonly allowed: true;
  readonly patch: readonly PatchOperation[];
  readonly warnings: readonly string[];
}
export type Verdict = Allowed | { readonly allowed: false; readonly message: string };

const templatePaths: Readonly<Record<string, readonly string[]>> = {
  Deployment: ["spec", "template"],
  DaemonSet: ["spec", "template"],
  StatefulSet: ["spec", "template"],
  ReplicaSet: ["spec", "template"],
  Job: ["spec", "template"],
  CronJob: ["spec", "jobTemplate", "spec", "template"],
};

/** Never throws: what cannot be read is refused with the reason. */
export function decide(review: Review, around: Surroundings): Verdict {
  try {
    if (review.operation !== "CREATE" && review.operation !== "UPDATE") return untouched;
    if (review.kind === "Namespace") return decideNamespace(review, around);
    if (review.kind === "Pod") return review.operation === "CREATE" ? createPod(review, around) : updatePod(review, around);
    const path = Object.hasOwn(templatePaths, review.kind) ? templatePaths[review.kind] : undefined;
    return path === undefined ? untouched : decideWorkload(review, path, around);
  } catch (error) {
    return { allowed: false, message: toStatusError(error).details };
  }
}

const untouched: Allowed = { allowed: true, patch: [], warnings: [] };

function decideNamespace({ object, oldObject }: Review, { annotation }: Surroundings): Verdict {
  const meta = readMeta(at(object, ["metadata"]));
  const before = readMeta(at(oldObject, ["metadata"]));
  // a namespace that has had a wrong one for long must stay writable
  if (sameWish(meta, before, annotation)) return untouched;
  wantedBy(meta, annotation);
  modeOf(meta);
  return untouched;
}

/** Copies the annotations to the pod template, unless that has its own. */
function decideWorkload(review: Review, path: readonly string[], { annotation }: Surroundings): Verdict {
  const meta = readMeta(at(review.object, ["metadata"]));
  const controlled = meta.ownerReferences?.some(({ controller }) => controller === true) === true;
  if (controlled) return untouched; // its owner has handed down already
  const before = readMeta(at(review.oldObject, ["metadata"]));
  const template = readMeta(at(review.object, [...path, "metadata"]));
  const oldTemplate = readMeta(at(review.oldObject, [...path, "metadata"]));
  if (review.operation === "CREATE" || !sameWish(meta, before, annotation)) {
    wantedBy(meta, annotation);
    modeOf(meta);
  }
  if (review.operation === "CREATE" || !sameWish(template, oldTemplate, annotation)) {
    wantedBy(template, annotation);
    modeOf(template);
  }
  // the template of a Job cannot be changed
  if (review.kind === "Job" && review.operation === "UPDATE") return untouched;
  const patch = patchOf(review.object);
  for (const key of [annotation, modeAnnotation, endpointAnnotation]) handDown(patch, path, key, meta, before, template);
  return { allowed: true, patch: patch.operations, warnings: [] };
}

function handDown(
  patch: Patch,
  path: readonly string[],
  key: string,
  meta: ObjectMeta,
  before: ObjectMeta,
  template: ObjectMeta,
): void {
  const wished = ownText(meta, key);
  const had = ownText(before, key);
  const present = ownText(template, key);
  // what the template has and we did not put there is the author's
  if (present !== undefined && present !== had) return;
  const map = [...path, "metadata", "annotations"];
  if (wished !== undefined) patch.set(map, { [key]: wished });
  else if (had !== undefined) patch.remove(map, key);
}

function createPod(review: Review, around: Surroundings): Verdict {
  const pod = readPod(review.object);
  const equipment = equipEndpoint(review.object, pod, around.sidecar, { csi: around.csi, confined: isConfined(around) });
  const client = connectPod(review, pod, around);
  if (!client.allowed || equipment.length === 0) return client;
  // both may want the same volumes
  const volumes = new Set(equipment.flatMap((operation) => volumeNameOf(operation) ?? []));
  const added = client.patch.filter((operation) => !volumes.has(volumeNameOf(operation) ?? ""));
  const hasList = equipment.some(({ path }) => path === "/spec/volumes");
  return { ...client, patch: [...equipment, ...added.filter(({ path }) => !hasList || path !== "/spec/volumes")] };
}

function volumeNameOf(operation: PatchOperation): string | undefined {
  if (operation.op === "remove" || operation.path !== "/spec/volumes/-") return undefined;
  return (operation.value as { name: string }).name;
}

function isConfined({ namespace, csi }: Surroundings): boolean {
  return forbidsHostPaths(namespace) && !csi;
}

function connectPod(review: Review, pod: Pod, around: Surroundings): Verdict {
  const own = wantedBy(pod.metadata, around.annotation);
  const inherited = own === undefined && ownText(pod.metadata, around.annotation) === undefined;
  const wanted = own ?? (inherited ? wantedBy(around.namespace, around.annotation) : undefined);
  if (wanted === undefined || hasClient(pod.spec)) return untouched;
  if (pod.spec?.hostNetwork === true) return hostNetwork(inherited, around.annotation);
  const asked = modeOf(pod.metadata) ?? modeOf(around.namespace) ?? around.defaultMode;
  const confined = isConfined(around);
  const mode: Mode = confined ? "node" : asked;
  const patch = patchOf(review.object);
  // what is inherited is written on the pod: it shows there, and the agent of the node needs no namespaces
  if (inherited) patch.set(["metadata", "annotations"], { [around.annotation]: wanted.text });
  patch.set(["metadata", "annotations"], { [modeAnnotation]: mode });
  const warnings = mode === "node" ? byNode(patch, pod) : bySidecar(patch, pod, wanted, around);
  if (confined && asked === "sidecar") {
    const why = "Pod Security of this namespace forbids host paths";
    warnings.push(`networkservicemesh.io: mode node is used, because ${why}; set ${modeAnnotation}: node to say so yourself`);
  }
  return { allowed: true, patch: patch.operations, warnings };
}

function hostNetwork(inherited: boolean, annotation: string): Verdict {
  const why = "the pod has hostNetwork: true, and its interfaces would be made in the node's own network";
  if (inherited) return { ...untouched, warnings: [`networkservicemesh.io: nothing is connected, because ${why}`] };
  return { allowed: false, message: `annotation ${annotation}: ${why}; remove hostNetwork or the annotation` };
}

function byNode(patch: Patch, pod: Pod): string[] {
  const present = pod.spec?.readinessGates?.some(({ conditionType }) => conditionType === connectedCondition) === true;
  if (!present) patch.append(["spec", "readinessGates"], [{ conditionType: connectedCondition }]);
  return [];
}

function bySidecar(patch: Patch, pod: Pod, wanted: Wanted, around: Surroundings): string[] {
  const additions = injection(wanted, around.sidecar, around);
  const present = new Set(pod.spec?.volumes?.map(({ name }) => name));
  patch.append(["spec", "initContainers"], additions.initContainers);
  patch.append(["spec", "containers"], additions.containers);
  patch.append(
    ["spec", "volumes"],
    additions.volumes.filter(({ name }) => !present.has(name)),
  );
  patch.set(["metadata", "labels"], around.sidecar.labels);
  if (around.native || (pod.spec?.restartPolicy ?? "Always") === "Always") return [];
  return [
    `networkservicemesh.io: the client container keeps this pod from completing (restartPolicy ${pod.spec?.restartPolicy}); use ${modeAnnotation}: node`,
  ];
}

/** The agent of the node follows a change; containers of a pod cannot be changed. */
function updatePod(review: Review, { annotation }: Surroundings): Verdict {
  const meta = readMeta(at(review.object, ["metadata"]));
  const before = readMeta(at(review.oldObject, ["metadata"]));
  if (sameWish(meta, before, annotation)) return untouched;
  wantedBy(meta, annotation);
  const mode = modeOf(meta);
  const had = modeOf(before);
  if (had !== undefined && mode !== had) {
    return {
      allowed: false,
      message: `annotation ${modeAnnotation}: the mode of a running pod cannot be changed; make the pod anew`,
    };
  }
  if (had !== "sidecar") return untouched;
  const text = "the client container of a running pod keeps its services; make the pod anew, or use";
  return { ...untouched, warnings: [`networkservicemesh.io: ${text} ${modeAnnotation}: node for changes of a running pod`] };
}

function sameWish(one: ObjectMeta, other: ObjectMeta, annotation: string): boolean {
  return [annotation, modeAnnotation].every((key) => ownText(one, key) === ownText(other, key));
}

/** Source: Pod Security Standards; baseline and restricted forbid hostPath volumes. */
function forbidsHostPaths(namespace: ObjectMeta | undefined): boolean {
  const { labels } = namespace ?? {};
  const key = "pod-security.kubernetes.io/enforce";
  const level = labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
  return level === "baseline" || level === "restricted";
}
