/** weft describe: everything known about one object, gathered from all that know of it. */
import { Code, statusError } from "../../sdk/status.js";
import { timestampMs } from "../../sdk/timestamp.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { requireMesh } from "../mesh/state.js";
import { operatorDialer } from "../operator-dialer.js";
import { collectConnections, listServices } from "../view/collect.js";
import { type ConnectionView, dataPath, describeWire, type HopView, shortId } from "../view/connections.js";
import { findConnection } from "../view/find.js";
import { describeReport, indent } from "../view/inspect.js";
import { describeLinks } from "../view/links.js";
import { describeMatches } from "../view/listings.js";
import { findSources, listEndpoints, registryOf, type Source, type SourceOptions } from "../view/sources.js";
import { formatFacts, formatLabels, formatTable } from "../view/table.js";

interface Asked {
  readonly dialer: Dialer;
  readonly sources: readonly Source[];
  readonly signal: AbortSignal;
}
type Describe = (name: string, asked: Asked) => Promise<string>;

const kinds: ReadonlyMap<string, Describe> = new Map([
  ["service", describeService],
  ["endpoint", describeEndpoint],
  ["connection", describeConnection],
  ["forwarder", describeForwarder],
  ["pod", describePod],
]);

export async function describe(kindText: string, name: string, options: SourceOptions, context: CliContext): Promise<number> {
  const kind = kinds.get(kindText.toLowerCase().replace(/s$/, ""));
  if (kind === undefined) {
    throw statusError(Code.INVALID_ARGUMENT, `there is no kind "${kindText}"; there are ${[...kinds.keys()].join(", ")}`);
  }
  const dialer = await operatorDialer(options, context);
  try {
    const sources = await findSources(options, dialer, context.signal);
    context.out.write(await kind(name, { dialer, sources, signal: context.signal }));
    return 0;
  } finally {
    dialer.close();
  }
}

async function describeService(name: string, { dialer, sources, signal }: Asked): Promise<string> {
  const url = registryOf(sources).url;
  const services = await listServices(dialer, url, signal);
  const service = services.find((found) => found.name === name);
  if (service === undefined)
    throw notFound(
      "service",
      name,
      services.map((found) => found.name),
    );
  const endpoints = (await listEndpoints(dialer, url, signal)).filter((found) => found.network_service_names.includes(name));
  const { found } = await collectConnections(dialer, sources, signal);
  return [
    formatFacts([
      ["Service", name],
      ["Payload", service.payload || "ETHERNET"],
      ["Matches", describeMatches(service) || "any endpoint"],
    ]),
    `Endpoints: ${endpoints.length}\n`,
    ...endpoints.map((endpoint) => {
      const labels = endpoint.network_service_labels;
      const own = Object.hasOwn(labels, name) ? formatLabels(labels[name]?.labels ?? {}) : "";
      return `  ${endpoint.name}${own === "" ? "" : ` (${own})`}\n`;
    }),
    connectionLines(found.filter((view) => view.service === name)),
  ].join("");
}

async function describeEndpoint(name: string, { dialer, sources, signal }: Asked): Promise<string> {
  const endpoints = await listEndpoints(dialer, registryOf(sources).url, signal);
  const endpoint = endpoints.find((found) => found.name === name) ?? endpoints.find((found) => found.name.startsWith(name));
  if (endpoint === undefined)
    throw notFound(
      "endpoint",
      name,
      endpoints.map((found) => found.name),
    );
  const { found } = await collectConnections(dialer, sources, signal);
  const { initial_registration_time, expiration_time } = endpoint;
  const time = (at: typeof expiration_time): string => (at === undefined ? "" : new Date(timestampMs(at)).toISOString());
  const source = sources.find((candidate) => endpoint.name === candidate.name || endpoint.name.startsWith(`${candidate.name}-`));
  return [
    formatFacts([
      ["Endpoint", endpoint.name],
      ["Services", endpoint.network_service_names.join(", ")],
      ["URL", endpoint.url],
      ["Registered", time(initial_registration_time)],
      ["Expires", time(expiration_time)],
      ...Object.entries(endpoint.network_service_labels).map(([service, { labels }]): [string, string] => [
        `Labels (${service})`,
        formatLabels(labels),
      ]),
    ]),
    connectionLines(
      found.filter((view) => view.hops.some((hop) => hop.name === endpoint.name) || view.endpoint === endpoint.name),
    ),
    source === undefined ? "" : await describeReport(dialer, source, signal),
  ].join("");
}

async function describeForwarder(name: string, { dialer, sources, signal }: Asked): Promise<string> {
  const forwarders = sources.filter(({ kind }) => kind === "forwarder");
  const source = forwarders.find((found) => found.name === name || found.node === name);
  if (source === undefined)
    throw notFound(
      "forwarder",
      name,
      forwarders.map((found) => found.name),
    );
  const { found } = await collectConnections(dialer, sources, signal);
  return [
    formatFacts([
      ["Forwarder", source.name],
      ["Node", source.node],
      ["Listens on", source.url],
    ]),
    connectionLines(found.filter((view) => view.hops.some((hop) => hop.name === source.name))),
    await describeReport(dialer, source, signal),
  ].join("");
}

async function describePod(name: string, { dialer, sources, signal }: Asked): Promise<string> {
  const mesh = requireMesh();
  const pod = mesh.pods.find((found) => found.name === name);
  if (pod === undefined)
    throw notFound(
      "pod",
      name,
      mesh.pods.map((found) => found.name),
    );
  const source = sources.find((found) => found.kind === "pod" && found.name === name);
  const { found } = await collectConnections(dialer, sources, signal);
  return [
    formatFacts([
      ["Pod", pod.name],
      ["Node", pod.node],
      ["Role", pod.role],
      ["Namespace", `/run/netns/${pod.netns}`],
      ["Process", pod.pid === undefined ? "ended" : String(pod.pid)],
    ]),
    `Interfaces\n${indent(describeLinks(pod.netns))}`,
    connectionLines(found.filter((view) => view.hops.some((hop) => hop.name === name || hop.name.startsWith(`${name}-`)))),
    source === undefined ? "" : await describeReport(dialer, source, signal),
  ].join("");
}

async function describeConnection(name: string, { dialer, sources, signal }: Asked): Promise<string> {
  const { found, problems } = await collectConnections(dialer, sources, signal);
  const view = findConnection(found, name);
  const reports = await Promise.all(
    view.hops.map(async (hop) => {
      const source = sources.find((candidate) => candidate.name === hop.name || hop.name.startsWith(`${candidate.name}-`));
      const report = source === undefined ? "" : await describeReport(dialer, source, signal, hop.id);
      return report === "" ? "" : `${hop.name}\n${indent(report)}`;
    }),
  );
  return [
    formatFacts([
      ["Connection", view.id],
      ["Client", view.client],
      ["Service", view.service],
      ["Endpoint", view.endpoint],
      ["State", view.state],
      ["Payload", view.payload],
      ["MTU", String(view.mtuBytes)],
      ["Client side", `${view.clientInterface} ${view.clientAddresses.join(", ")}`],
      ["Endpoint side", view.endpointAddresses.join(", ")],
      ["Names", view.names.join("; ")],
    ]),
    "Way of the packets\n",
    ...dataPath(view).map((wire) => `  ${wire.from.name} → ${wire.to.name}: ${describeWire(wire)}\n`),
    `Hops\n${indent(hopTable(view))}`,
    ...view.hops.map(hopCounters),
    ...view.stale.map(({ name, id }) => `Left over from an earlier path: ${id} at ${name}\n`),
    ...reports,
    ...problems.map((problem) => `(${problem})\n`),
  ].join("");
}

function hopTable(view: ConnectionView): string {
  const rows = view.hops.map((hop) => [
    hop.name,
    hop.kind,
    hop.node,
    hop.mechanism?.type ?? "",
    hop.expiresInMs === undefined ? "" : `${Math.round(hop.expiresInMs / 1000)}s`,
    hop.id,
  ]);
  return formatTable(["NAME", "KIND", "NODE", "MECHANISM", "EXPIRES IN", "ID"], rows);
}

/** What a hop has reported in the path with the last request; counters that stand at zero say nothing. */
function hopCounters(hop: HopView): string {
  const counted = Object.fromEntries(Object.entries(hop.metrics).filter(([, value]) => value !== "0"));
  return Object.keys(counted).length === 0 ? "" : `Reported by ${hop.name}: ${formatLabels(counted)}\n`;
}

function connectionLines(views: readonly ConnectionView[]): string {
  const lines = views.map(
    (view) => `  ${shortId(view.id)} ${view.client} → ${view.service} at ${view.endpoint}, ${view.state}\n`,
  );
  return `Connections: ${views.length}\n${lines.join("")}`;
}

function notFound(kind: string, name: string, known: readonly string[]): Error {
  return statusError(
    Code.NOT_FOUND,
    `no ${kind} "${name}"; there ${known.length === 0 ? "are none" : `are ${known.join(", ")}`}`,
  );
}
