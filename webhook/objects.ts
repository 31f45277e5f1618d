/** The parts of Kubernetes objects that the webhook reads. Everything else of an object is none of its business. */
import { Code, statusError } from "../sdk/status.js";

export interface ObjectMeta {
  readonly name?: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly { readonly kind: string; readonly controller?: boolean }[];
}

export interface Container {
  readonly name: string;
  readonly env?: readonly { readonly name: string }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath?: string }[];
}

export interface PodSpec {
  readonly hostNetwork?: boolean;
  readonly restartPolicy?: string;
  readonly containers?: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly { readonly name: string }[];
  readonly readinessGates?: readonly { readonly conditionType: string }[];
}

/** A Pod, or the template of one. */
export interface Pod {
  readonly metadata?: ObjectMeta;
  readonly spec?: PodSpec;
}

/** One step of RFC 6902; of its verbs those that are needed. */
export type PatchOperation =
  | { readonly op: "add" | "replace"; readonly path: string; readonly value: unknown }
  | { readonly op: "remove"; readonly path: string };

export type Fields = Readonly<Record<string, unknown>>;

/** An object of JSON, or undefined. */
export function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

/** Follows own properties only; undefined where the way ends. */
export function at(value: unknown, path: readonly string[]): unknown {
  let here = value;
  for (const name of path) {
    const fields = fieldsOf(here);
    if (fields === undefined || !Object.hasOwn(fields, name)) return undefined;
    here = fields[name];
  }
  return here;
}

/**
 * A Pod or pod template from JSON, with the shape that the rest relies on.
 * @throws INVALID_ARGUMENT where a part has another type than Kubernetes gives it
 */
export function readPod(value: unknown): Pod {
  const pod = fieldsOf(value) ?? {};
  const spec = optionalFields(pod["spec"], "spec");
  for (const name of ["containers", "initContainers", "volumes", "readinessGates"]) listOf(spec?.[name], `spec.${name}`);
  return { ...pod, metadata: readMeta(pod["metadata"]), ...(spec === undefined ? {} : { spec: spec as PodSpec }) };
}

/** @throws INVALID_ARGUMENT as readPod */
export function readMeta(value: unknown): ObjectMeta {
  const meta = optionalFields(value, "metadata") ?? {};
  for (const name of ["annotations", "labels"]) {
    const map = optionalFields(meta[name], `metadata.${name}`);
    const wrong = Object.entries(map ?? {}).find(([, text]) => typeof text !== "string");
    if (wrong !== undefined) throw malformed(`metadata.${name}.${wrong[0]} is no text`);
  }
  listOf(meta["ownerReferences"], "metadata.ownerReferences");
  return withoutNull(meta) as ObjectMeta;
}

function optionalFields(value: unknown, where: string): Fields | undefined {
  if (value === undefined || value === null) return undefined;
  const fields = fieldsOf(value);
  if (fields === undefined) throw malformed(`${where} is no object`);
  return fields;
}

function listOf(value: unknown, where: string): void {
  if (value === undefined || value === null) return;
  if (!Array.isArray(value) || value.some((item) => fieldsOf(item) === undefined))
    throw malformed(`${where} is no list of objects`);
}

function withoutNull(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}

function malformed(problem: string) {
  return statusError(Code.INVALID_ARGUMENT, `the object is malformed: ${problem}`);
}
