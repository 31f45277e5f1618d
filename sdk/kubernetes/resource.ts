/** Kinds of objects and their places in the API (Kubernetes documentation, "Kubernetes API Concepts"). */

export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  /** Nodes, namespaces and the like have none. Default true. */
  readonly namespaced?: boolean;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  /** A number in text; larger is later (KEP-5504). */
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly { readonly kind: string; readonly name: string; readonly uid: string }[];
  readonly [other: string]: unknown;
}

/** Any object as the server gives it; what is inside must be checked, since whoever may write it may be wrong. */
export interface KubernetesObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly spec?: unknown;
  readonly status?: unknown;
  readonly [other: string]: unknown;
}

export const networkServices: Resource = weft("networkservices", "NetworkService");
export const networkServiceEndpoints: Resource = weft("networkserviceendpoints", "NetworkServiceEndpoint");
export const connections: Resource = weft("connections", "Connection");
export const pods = core("pods", "Pod");
export const services = core("services", "Service");
export const configMaps = core("configmaps", "ConfigMap");
export const secrets = core("secrets", "Secret");
export const events = core("events", "Event");
export const nodes: Resource = { ...core("nodes", "Node"), namespaced: false };
export const namespaces: Resource = { ...core("namespaces", "Namespace"), namespaced: false };
/** Since Kubernetes 1.33. */
export const serviceCidrs: Resource = {
  group: "networking.k8s.io",
  version: "v1",
  plural: "servicecidrs",
  kind: "ServiceCIDR",
  namespaced: false,
};

function weft(plural: string, kind: string): Resource {
  return { group: "networkservicemesh.io", version: "v1", plural, kind };
}

function core(plural: string, kind: string): Resource {
  return { group: "", version: "v1", plural, kind };
}

export function apiVersionOf({ group, version }: Resource): string {
  return group === "" ? version : `${group}/${version}`;
}

/** The path of a collection, or of one object in it. Without namespace a namespaced collection means all namespaces. */
export function pathOf(resource: Resource, at: { namespace?: string; name?: string; subresource?: string } = {}): string {
  const { group, version, plural, namespaced = true } = resource;
  const parts = group === "" ? ["api", version] : ["apis", group, version];
  if (namespaced && at.namespace !== undefined) parts.push("namespaces", at.namespace);
  parts.push(plural);
  if (at.name !== undefined) parts.push(at.name);
  if (at.subresource !== undefined) parts.push(at.subresource);
  return `/${parts.map(encodeURIComponent).join("/")}`;
}

/** Unique within a resource: NAMESPACE/NAME, or NAME. */
export function keyOf({ metadata: { namespace, name } }: KubernetesObject): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** Is `a` a later state than `b`? */
export function isLater(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return a !== b;
  return /^\d+$/.test(a) && /^\d+$/.test(b) ? a.length > b.length || (a.length === b.length && a > b) : a !== b;
}
