/** Entries as custom resources: the object's name, its spec, and what a spec cannot say. */
import { createHash } from "node:crypto";
import type { NetworkService, NetworkServiceEndpoint } from "../../../sdk/gen/registry.js";
import {
  type KubernetesObject,
  networkServiceEndpoints,
  networkServices,
  type ObjectMeta,
  type Resource,
} from "../../../sdk/kubernetes/resource.js";
import { isStatusError } from "../../../sdk/status.js";
import { demandKeepable } from "../../check-entry.js";
import { type Entry, endpointKind, type Kind, serviceKind } from "../../kind.js";
import { endpointSpec, isSpecProblem, readEndpoint, readService, serviceSpec } from "./spec.js";

/** What the Kubernetes store needs to know of a kind. */
export interface ObjectKind<T extends Entry> {
  readonly kind: Kind<T>;
  readonly resource: Resource;
  readonly specOf: (entry: T) => Readonly<Record<string, unknown>>;
  readonly read: (spec: unknown, objectName: string) => T;
}

export const serviceObjects: ObjectKind<NetworkService> = {
  kind: serviceKind,
  resource: networkServices,
  specOf: serviceSpec,
  read: readService,
};

export const endpointObjects: ObjectKind<NetworkServiceEndpoint> = {
  kind: endpointKind,
  resource: networkServiceEndpoints,
  specOf: endpointSpec,
  read: readEndpoint,
};

/** Holds the whole message in base64 when the spec cannot (fields of a newer API). */
export const messageAnnotation = "networkservicemesh.io/message";

/** An object as it is kept: small, and read. */
export interface ReadObject<T extends Entry> extends KubernetesObject {
  readonly metadata: ObjectMeta & { readonly hasAnnotations: boolean };
  readonly entry: T | undefined;
  /** Why there is no entry. */
  readonly problem: string | undefined;
}

export function readObject<T extends Entry>(object: KubernetesObject, objects: ObjectKind<T>): ReadObject<T> {
  const { name, namespace, uid, resourceVersion, generation, creationTimestamp, annotations } = object.metadata;
  const metadata = {
    name,
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(generation !== undefined && { generation }),
    ...(creationTimestamp !== undefined && { creationTimestamp }),
    hasAnnotations: annotations !== undefined && annotations !== null,
  };
  const { apiVersion, kind, status } = object;
  const kept = { ...(apiVersion && { apiVersion }), ...(kind && { kind }), metadata, status };
  try {
    const fromSpec = objects.read(object.spec, name);
    demandKeepable(objects.kind, fromSpec);
    const message =
      annotations !== undefined && Object.hasOwn(annotations ?? {}, messageAnnotation)
        ? annotations[messageAnnotation]
        : undefined;
    const entry = wholeEntry(fromSpec, message, objects) ?? fromSpec;
    return { ...kept, entry: objects.kind.compact(entry, undefined), problem: undefined };
  } catch (error) {
    if (!isSpecProblem(error) && !isStatusError(error)) throw error;
    return { ...kept, entry: undefined, problem: error.message };
  }
}

/** The message beside the spec, if it still says the same: whoever edits the spec means the spec. */
function wholeEntry<T extends Entry>(fromSpec: T, message: unknown, objects: ObjectKind<T>): T | undefined {
  if (typeof message !== "string") return undefined;
  try {
    const whole = objects.kind.decode(Buffer.from(message, "base64"));
    return sameJson(objects.specOf(whole), objects.specOf(fromSpec)) ? whole : undefined;
  } catch {
    return undefined;
  }
}

/** Spec and annotation for an entry; `message` undefined = the spec says it all. */
export function writeObject<T extends Entry>(
  entry: T,
  objects: ObjectKind<T>,
): { spec: Readonly<Record<string, unknown>>; message: string | undefined } {
  const spec = objects.specOf(entry);
  const bytes = Buffer.from(objects.kind.encode(entry));
  const isWhole = bytes.equals(objects.kind.encode(objects.read(JSON.parse(JSON.stringify(spec)), "")));
  return { spec, message: isWhole ? undefined : bytes.toString("base64") };
}

/** RFC 1123, and at most 253 characters (Kubernetes documentation, "Object Names and IDs"). */
const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const maxObjectName = 253;

/** The name of the object that keeps an entry: its own name, as in NSM; or what is left of it and a digest. */
export function objectNameOf(name: string): string {
  if (name.length <= maxObjectName && subdomain.test(name)) return name;
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 16);
  const slug = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+/, "")
    .slice(0, 200)
    .replace(/-+$/, "");
  return slug === "" ? `x-${digest}` : `${slug}-${digest}`;
}

function sameJson(a: unknown, b: unknown): boolean {
  return sorted(a) === sorted(b);
}

function sorted(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
