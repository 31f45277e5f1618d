/** What `weft get` can list: each kind with its columns. */
import type { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { timestampMs } from "../../sdk/timestamp.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { type MeshState, requireMesh } from "../mesh/state.js";
import { collectConnections, listServices } from "./collect.js";
import { type ConnectionView, dataPath, shortId } from "./connections.js";
import { withAbilities } from "./forwarders.js";
import { plain } from "./plain.js";
import { listEndpoints, registryOf, type Source } from "./sources.js";
import { age, formatLabels } from "./table.js";

export interface ListingInput {
  readonly dialer: Dialer;
  readonly sources: readonly Source[];
  readonly mesh: MeshState | undefined;
  readonly signal: AbortSignal;
}
export interface Listing {
  readonly headers: readonly { readonly title: string; readonly wide?: boolean }[];
  readonly items: readonly Item[];
  readonly problems: readonly string[];
}
export interface Item {
  /** What it can be asked for by. */
  readonly names: readonly string[];
  readonly cells: readonly string[];
  /** For -o json and yaml. */
  readonly data: unknown;
}
export interface Kind {
  /** The first is its own, the others are accepted as well. */
  readonly names: readonly string[];
  readonly list: (input: ListingInput) => Promise<Listing>;
}

/** The service whose endpoints are forwarders. */
const forwarderService = "forwarder";

export const kinds: readonly Kind[] = [
  { names: ["services", "service", "networkservices", "ns", "svc"], list: services },
  { names: ["endpoints", "endpoint", "nse", "networkserviceendpoints"], list: endpoints },
  { names: ["connections", "connection", "conn"], list: connections },
  { names: ["forwarders", "forwarder", "fwd"], list: forwarders },
  { names: ["pods", "pod"], list: pods },
];

async function services({ dialer, sources, signal }: ListingInput): Promise<Listing> {
  const url = registryOf(sources).url;
  const [found, registered] = await Promise.all([listServices(dialer, url, signal), listEndpoints(dialer, url, signal)]);
  const items = found.map((service): Item => {
    const count = registered.filter(({ network_service_names }) => network_service_names.includes(service.name)).length;
    return {
      names: [service.name],
      cells: [service.name, service.payload || "ETHERNET", String(count), describeMatches(service)],
      data: plain(service),
    };
  });
  return {
    headers: [{ title: "NAME" }, { title: "PAYLOAD" }, { title: "ENDPOINTS" }, { title: "MATCHES", wide: true }],
    items,
    problems: [],
  };
}

/** "app=fw → role=db | * → role=fw": from what label of the client to what label of an endpoint. */
export function describeMatches(service: NetworkService): string {
  return service.matches
    .map((match) => {
      const from = formatLabels(match.source_selector) || "*";
      const to = match.routes.map((route) => formatLabels(route.destination_selector) || "*").join(" or ");
      return `${from} → ${to || "*"}${match.fallthrough ? " (or next)" : ""}`;
    })
    .join(" | ");
}

async function endpoints({ dialer, sources, signal }: ListingInput): Promise<Listing> {
  const all = await listEndpoints(dialer, registryOf(sources).url, signal);
  return endpointListing(all.filter(({ network_service_names }) => !network_service_names.includes(forwarderService)));
}

async function forwarders({ dialer, sources, signal }: ListingInput): Promise<Listing> {
  const all = await listEndpoints(dialer, registryOf(sources).url, signal);
  const found = all.filter(({ network_service_names }) => network_service_names.includes(forwarderService));
  const urls = new Map(sources.flatMap(({ kind, name, url }) => (kind === "forwarder" ? [[name, url] as const] : [])));
  const listed = new Map(found.map(({ name, url }) => [name, url]));
  return await withAbilities(
    endpointListing(found),
    { dialer, signal },
    ({ names: [name = ""] }) => urls.get(name) ?? listed.get(name),
  );
}

function endpointListing(found: readonly NetworkServiceEndpoint[]): Listing {
  const nowMs = Date.now();
  const items = found.map((endpoint): Item => {
    const { expiration_time, initial_registration_time } = endpoint;
    const expiresInMs = expiration_time === undefined ? undefined : timestampMs(expiration_time) - nowMs;
    const labels = Object.entries(endpoint.network_service_labels).map(([service, { labels }]) => ({
      service,
      labels: formatLabels(labels),
    }));
    return {
      names: [endpoint.name, ...endpoint.network_service_names],
      cells: [
        endpoint.name,
        endpoint.network_service_names.join(","),
        age(initial_registration_time === undefined ? undefined : timestampMs(initial_registration_time), nowMs),
        expiresInMs === undefined ? "never" : expiresInMs < 0 ? "expired" : age(nowMs - expiresInMs, nowMs),
        endpoint.url,
        labels
          .filter(({ labels }) => labels !== "")
          .map(({ service, labels }) => (endpoint.network_service_names.length > 1 ? `${service}: ${labels}` : labels))
          .join("; "),
      ],
      data: plain(endpoint),
    };
  });
  const headers = [
    { title: "NAME" },
    { title: "SERVICES" },
    { title: "AGE" },
    { title: "EXPIRES IN" },
    { title: "URL", wide: true },
    { title: "LABELS", wide: true },
  ];
  return { headers, items, problems: [] };
}

async function connections({ dialer, sources, signal }: ListingInput): Promise<Listing> {
  const { found, problems } = await collectConnections(dialer, sources, signal);
  const headers = [
    { title: "ID" },
    { title: "CLIENT" },
    { title: "SERVICE" },
    { title: "ENDPOINT" },
    { title: "STATE" },
    { title: "ADDRESSES" },
    { title: "INTERFACE", wide: true },
    { title: "MTU", wide: true },
    { title: "PATH", wide: true },
  ];
  return { headers, items: found.map(connectionItem), problems };
}

function connectionItem(view: ConnectionView): Item {
  return {
    names: [view.id, view.client],
    cells: [
      shortId(view.id),
      view.client,
      view.service,
      view.endpoint,
      view.state,
      `${view.clientAddresses.join(",")} → ${view.endpointAddresses.join(",")}`,
      view.clientInterface,
      view.mtuBytes === 0 ? "" : String(view.mtuBytes),
      [view.hops[0]?.name ?? "", ...dataPath(view).map(({ to, mechanism }) => `${shortWire(mechanism)} ${to.name}`)].join(" "),
    ],
    data: view,
  };
}

function shortWire(mechanism: ConnectionView["hops"][number]["mechanism"]): string {
  if (mechanism === undefined) return "→";
  const vni = mechanism.parameters["vni"];
  return `→(${mechanism.type.toLowerCase()}${vni === undefined ? "" : ` ${vni}`})`;
}

async function pods(): Promise<Listing> {
  const mesh = requireMesh();
  const items = mesh.pods.map(
    (pod): Item => ({
      names: [pod.name],
      cells: [pod.name, pod.node, pod.role, pod.pid === undefined ? "ended" : String(pod.pid), pod.netns],
      data: pod,
    }),
  );
  const headers = [{ title: "NAME" }, { title: "NODE" }, { title: "ROLE" }, { title: "PID" }, { title: "NAMESPACE", wide: true }];
  return { headers, items, problems: [] };
}
