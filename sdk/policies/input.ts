/** What policies are asked about: the documented inputs of NSM's policies, and their form in Rego. */
import type { PeerIdentity } from "../peer.js";

/** One application of a path. In the registry there is nothing but the token. */
export interface PolicySegment {
  readonly token: string;
  readonly name?: string;
  readonly id?: string;
  readonly expires?: { readonly seconds: number; readonly nanos: number } | undefined;
  readonly metrics?: Readonly<Record<string, string>>;
}

/** A path with the segment that holds the call now. Servers see the part up to their own, clients all of it. */
export interface PathInput {
  readonly index: number;
  readonly segments: readonly PolicySegment[];
  /** Who is at the other end of the TLS connection; undefined = it has shown no certificate. */
  readonly peer: Pick<PeerIdentity, "certificatePem" | "publicKey"> | undefined;
}

/** A registry also says who wants which name, and whose it is. */
export interface ResourceInput extends PathInput {
  readonly resource: {
    readonly name: string;
    /** The identity that asks: `sub` of the first token of the path. */
    readonly owner: string;
    /** Identities along the way of the entry that has the name now; undefined = nobody has it. */
    readonly currentPathIds: readonly string[] | undefined;
  };
}

export interface MonitorInput {
  readonly spiffeId: string;
  /** Ids of the path segments that the selector names. */
  readonly selected: readonly string[];
  /** Ids of the caller's own connections; undefined = none is known of this caller. */
  readonly own: readonly string[] | undefined;
  readonly peer: PathInput["peer"];
}

export type PolicyInput = PathInput | ResourceInput | MonitorInput;

/** The input in the words of Rego. Zero values are left out, as Go's JSON does. */
export function regoInput(input: PolicyInput): Record<string, unknown> {
  const auth_info = { certificate: input.peer?.certificatePem ?? "" };
  if ("selected" in input) {
    return {
      auth_info,
      service_spiffe_id: input.spiffeId,
      selector_connection_ids: input.selected,
      spiffe_id_connection_map: input.own === undefined ? {} : { [input.spiffeId]: input.own },
    };
  }
  const path = {
    auth_info,
    ...(input.index === 0 ? {} : { index: input.index }),
    path_segments: input.segments.map(regoSegment),
  };
  if (!("resource" in input)) return path;
  const { name, owner, currentPathIds } = input.resource;
  const known = currentPathIds === undefined ? [] : [[name, currentPathIds] as const];
  // without prototype: a name may be "__proto__"
  const resource_path_ids_map = Object.assign(Object.create(null) as Record<string, unknown>, Object.fromEntries(known));
  return { ...path, resource_name: name, resource_id: owner, resource_path_ids_map };
}

function regoSegment({ token, name, id, expires, metrics }: PolicySegment): Record<string, unknown> {
  return {
    ...(name ? { name } : {}),
    ...(id ? { id } : {}),
    ...(token ? { token } : {}),
    ...(expires === undefined ? {} : { expires: { seconds: expires.seconds, nanos: expires.nanos } }),
    ...(metrics === undefined || Object.keys(metrics).length === 0 ? {} : { metrics }),
  };
}
