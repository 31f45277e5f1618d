/**
 * Connections as one picture: every component on the way knows its own piece, joined here by the path they share (pure).
 */
import type { Connection, Mechanism, PathSegment } from "../../sdk/gen/connection.js";
import { State } from "../../sdk/gen/connection.js";
import type { Source } from "./sources.js";

/** What one component told about its connections. */
export interface Told {
  readonly source: Source;
  readonly connections: readonly Connection[];
}

export interface ConnectionView {
  /** The client's own id, the first of the path. */
  readonly id: string;
  readonly client: string;
  readonly service: string;
  readonly endpoint: string;
  /** UP, DOWN, RESELECT_REQUESTED, …; PARTIAL when nobody near the client knows it (yet, or any more). */
  readonly state: string;
  readonly payload: string;
  readonly mtuBytes: number;
  readonly clientAddresses: readonly string[];
  readonly endpointAddresses: readonly string[];
  readonly clientInterface: string;
  /** What its endpoint says about names: "office.example by 172.16.1.1". */
  readonly names: readonly string[];
  /** One per application on the way, the client first. */
  readonly hops: readonly HopView[];
  /** Pieces that some component still holds and that are not on the way any more. */
  readonly stale: readonly { readonly name: string; readonly id: string }[];
}

export interface HopView {
  readonly name: string;
  readonly id: string;
  readonly kind: Source["kind"] | "client" | "endpoint" | "unknown";
  readonly node: string;
  /** The wire between the hop before and this one, as this hop reported it. */
  readonly mechanism: MechanismView | undefined;
  readonly expiresInMs: number | undefined;
  readonly metrics: Readonly<Record<string, string>>;
}

export interface MechanismView {
  readonly type: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Joins what all components told. Newest pieces win where they overlap. */
export function joinConnections(told: readonly Told[], nowMs: number): ConnectionView[] {
  const groups = new Map<string, { source: Source; connection: Connection }[]>();
  for (const { source, connections } of told) {
    for (const connection of connections) {
      const id = connection.path?.path_segments[0]?.id ?? connection.id;
      const group = groups.get(id) ?? [];
      group.push({ source, connection });
      groups.set(id, group);
    }
  }
  return [...groups.entries()]
    .map(([id, pieces]) => viewOf(id, pieces, nowMs))
    .sort((a, b) => a.client.localeCompare(b.client) || a.service.localeCompare(b.service) || a.id.localeCompare(b.id));
}

type Piece = { source: Source; connection: Connection };

function viewOf(id: string, pieces: readonly Piece[], nowMs: number): ConnectionView {
  // whoever stands first on the way has the newest whole path; a longer one further on may be that of an earlier endpoint
  const ordered = [...pieces].sort((a, b) => indexOf(a) - indexOf(b));
  const first = ordered[0]?.connection;
  const segments = first?.path?.path_segments ?? [];
  const current = ordered.filter((piece) => segments[indexOf(piece)]?.id === piece.connection.id);
  const stale = ordered
    .filter((piece) => !current.includes(piece))
    .map(({ source, connection }) => ({ name: source.name, id: connection.id }));
  const kernel = current.find(({ connection }) => connection.mechanism?.type === "KERNEL")?.connection;
  return {
    id,
    client: segments[0]?.name ?? "",
    service: first?.network_service ?? "",
    endpoint: first?.network_service_endpoint_name ?? "",
    // the client's own manager answers last: before it does the connection is not the client's yet
    state: ordered[0] !== undefined && indexOf(ordered[0]) > 1 ? "PARTIAL" : stateName(first?.state),
    payload: first?.payload || "ETHERNET",
    mtuBytes: first?.context?.MTU ?? 0,
    clientAddresses: first?.context?.ip_context?.src_ip_addrs ?? [],
    endpointAddresses: first?.context?.ip_context?.dst_ip_addrs ?? [],
    clientInterface: kernel?.mechanism?.parameters["name"] ?? "",
    names: (first?.context?.dns_context?.configs ?? []).map(
      ({ search_domains, dns_server_ips }) => `${search_domains.join(", ") || "any name"} by ${dns_server_ips.join(", ")}`,
    ),
    hops: segments.map((segment, index) => hopOf(segment, index, segments.length, current, nowMs)),
    stale,
  };
}

function hopOf(segment: PathSegment, index: number, length: number, pieces: readonly Piece[], nowMs: number): HopView {
  const own = pieces.find((piece) => indexOf(piece) === index);
  const expires = segment.expires;
  const metrics = pieces
    .map(({ connection }) => connection.path?.path_segments[index]?.metrics ?? {})
    .reduce((best, found) => (Object.keys(found).length > Object.keys(best).length ? found : best), segment.metrics);
  return {
    name: segment.name,
    id: segment.id,
    kind: kindOf(segment, index, length, own),
    node: own?.source.node ?? "",
    mechanism: own?.connection.mechanism === undefined ? undefined : mechanismOf(own.connection.mechanism),
    expiresInMs: expires === undefined ? undefined : Number(expires.seconds) * 1000 + expires.nanos / 1e6 - nowMs,
    metrics,
  };
}

function kindOf(segment: PathSegment, index: number, length: number, own: Piece | undefined): HopView["kind"] {
  if (index === 0) return "client";
  if (own !== undefined && own.source.kind !== "pod") return own.source.kind;
  if (index === length - 1) return "endpoint";
  if (own !== undefined) return "pod";
  if (/nsmgr/.test(segment.name)) return "nsmgr";
  return /forwarder/.test(segment.name) ? "forwarder" : "unknown";
}

function indexOf({ connection }: Piece): number {
  return connection.path?.index ?? 0;
}

function mechanismOf({ type, parameters }: Mechanism): MechanismView {
  return { type, parameters: { ...parameters } };
}

function stateName(state: number | undefined): string {
  return Object.entries(State).find(([, value]) => value === state)?.[0] ?? "UNKNOWN";
}

/** An id as people read it: the first digits of a UUID, any other as it is. */
export function shortId(id: string): string {
  return /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(id) ? id.slice(0, 8) : id;
}

/** One stretch of wire of a connection's data path, between two things that touch packets. */
export interface Wire {
  readonly from: HopView;
  readonly to: HopView;
  readonly mechanism: MechanismView | undefined;
}

/** The way of the packets: the hops without the node managers, which only negotiate. */
export function dataPath(view: ConnectionView): Wire[] {
  const wires: Wire[] = [];
  let from = view.hops[0];
  let mechanism: MechanismView | undefined;
  for (const hop of view.hops.slice(1)) {
    // all hops between two carriers of packets report the same wire
    mechanism = hop.mechanism ?? mechanism;
    if (hop.kind === "nsmgr" || from === undefined) continue;
    wires.push({ from, to: hop, mechanism });
    from = hop;
    mechanism = undefined;
  }
  return wires;
}

/** "veth", "vxlan vni 42, 198.18.0.1 → 198.18.0.2", … */
export function describeWire({ from, to, mechanism }: Wire): string {
  if (mechanism === undefined) return "?";
  const { type, parameters } = mechanism;
  if (type === "VXLAN") {
    const port = parameters["dst_port"] ?? parameters["src_port"];
    return `VXLAN vni ${parameters["vni"] ?? "?"}, ${parameters["src_ip"] ?? "?"} → ${parameters["dst_ip"] ?? "?"}${port ? ` udp ${port}` : ""}`;
  }
  if (type === "WIREGUARD") {
    const end = (side: string): string => `${parameters[`${side}_ip`] ?? "?"} udp ${parameters[`${side}_port`] ?? "?"}`;
    return `WireGuard ${end("src")} ↔ ${end("dst")}`;
  }
  if (type === "KERNEL") {
    const workload = to.kind === "forwarder" ? from : to;
    return `kernel interface ${parameters["name"] || "?"} in ${workload.name}`;
  }
  return type;
}
