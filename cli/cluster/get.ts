/** weft cluster get: what the mesh of a Kubernetes cluster holds, as its custom resources and pods say. */
import { stringify } from "yaml";
import { connectedCondition, modeAnnotation, servicesAnnotation } from "../../sdk/kubernetes/annotation.js";
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import {
  connections,
  events,
  type KubernetesObject,
  networkServiceEndpoints,
  networkServices,
  pathOf,
  pods,
  type Resource,
} from "../../sdk/kubernetes/resource.js";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { formatTable } from "../view/table.js";
import { type ClusterOptions, withCluster } from "./open.js";

interface Kind {
  readonly names: readonly string[];
  readonly resource: Resource;
  readonly headers: readonly string[];
  readonly cells: (object: KubernetesObject) => string[];
  /** Which of the objects; default: all. */
  readonly wanted?: (object: KubernetesObject) => boolean;
}

const text = (value: unknown): string =>
  value === undefined || value === null ? "" : Array.isArray(value) ? value.join(",") : String(value);
const field = (value: unknown, ...path: string[]): unknown =>
  path.reduce<unknown>(
    (here, name) => (typeof here === "object" && here !== null ? (here as Record<string, unknown>)[name] : undefined),
    value,
  );

const kinds: readonly Kind[] = [
  {
    names: ["services", "service", "networkservices"],
    resource: networkServices,
    headers: ["NAMESPACE", "NAME", "PAYLOAD", "ENDPOINTS"],
    cells: (object) => [text(field(object, "spec", "payload")), text(field(object, "status", "endpoints"))],
  },
  {
    names: ["endpoints", "endpoint", "networkserviceendpoints"],
    resource: networkServiceEndpoints,
    headers: ["NAMESPACE", "NAME", "SERVICES", "URL"],
    cells: (object) => [text(field(object, "spec", "network_service_names")), text(field(object, "spec", "url"))],
  },
  {
    names: ["connections", "connection"],
    resource: connections,
    headers: ["NAMESPACE", "POD", "SERVICE", "INTERFACE", "STATE", "ADDRESSES", "ENDPOINT"],
    cells: ({ spec, status }) => [
      text(field(spec, "pod")),
      text(field(spec, "networkService")),
      text(field(status, "interface")),
      text(field(status, "state")),
      text(field(status, "addresses")),
      text(field(status, "endpoint")),
    ],
  },
  {
    names: ["pods", "pod"],
    resource: pods,
    headers: ["NAMESPACE", "NAME", "MODE", "SERVICES", "CONNECTED", "NODE"],
    wanted: ({ metadata }) => metadata.annotations?.[servicesAnnotation] !== undefined,
    cells: ({ metadata, spec, status }) => {
      const conditions = (field(status, "conditions") ?? []) as readonly { type: string; status: string }[];
      const connected = conditions.find(({ type }) => type === connectedCondition)?.status ?? "";
      const { annotations = {} } = metadata;
      return [
        metadata.name,
        annotations[modeAnnotation] ?? "",
        annotations[servicesAnnotation] ?? "",
        connected,
        text(field(spec, "nodeName")),
      ];
    },
  },
];

export async function clusterGet(
  kindText: string,
  options: ClusterOptions & { readonly output?: "json" | "yaml" },
  context: CliContext,
): Promise<number> {
  const kind = kindOf(kindText);
  return withCluster(options, context, async (api) => {
    const items = await list(api, kind);
    if (options.output === "json") context.out.write(`${JSON.stringify({ items }, null, 2)}\n`);
    else if (options.output === "yaml") context.out.write(stringify({ items }));
    else if (items.length === 0) context.out.write(`no ${kind.names[0]}\n`);
    else
      context.out.write(
        formatTable(
          [...kind.headers],
          items.map((object) => rowOf(kind, object)),
        ),
      );
    return 0;
  });
}

/** One object with its events: what is known, and what has gone wrong with it. */
export async function clusterDescribe(
  kindText: string,
  name: string,
  options: ClusterOptions,
  context: CliContext,
): Promise<number> {
  const kind = kindOf(kindText);
  return withCluster(options, context, async (api) => {
    const found = (await list(api, kind)).filter(
      (object) => object.metadata.name === name || field(object, "spec", "pod") === name,
    );
    if (found.length === 0)
      throw statusError(
        Code.NOT_FOUND,
        `no ${kind.names[1]} is called "${name}"; \`weft cluster get ${kind.names[0]}\` lists them`,
      );
    for (const object of found) {
      const { managedFields: _, ...metadata } = object.metadata;
      context.out.write(stringify({ ...object, metadata }));
      const about = text(field(object, "spec", "pod")) || object.metadata.name;
      const namespace = object.metadata.namespace ?? "default";
      const { items } = await api.call<{ items: KubernetesObject[] }>({
        path: pathOf(events, { namespace }),
        query: { fieldSelector: `involvedObject.name=${about}` },
      });
      const rows = items.map((event) => [
        text(event["lastTimestamp"]),
        text(event["type"]),
        text(event["reason"]),
        text(event["message"]),
      ]);
      context.out.write(rows.length === 0 ? "events: none\n" : formatTable(["WHEN", "TYPE", "REASON", "MESSAGE"], rows));
    }
    return 0;
  });
}

function kindOf(kindText: string): Kind {
  const kind = kinds.find(({ names }) => names.includes(kindText.toLowerCase()));
  if (kind !== undefined) return kind;
  throw statusError(
    Code.INVALID_ARGUMENT,
    `there is no kind "${kindText}"; there are ${kinds.map(({ names }) => names[0]).join(", ")}`,
  );
}

async function list(api: KubernetesApi, { resource, wanted = () => true }: Kind): Promise<KubernetesObject[]> {
  const { items } = await api.call<{ items: KubernetesObject[] }>({ path: pathOf(resource) });
  return items.filter(wanted);
}

function rowOf(kind: Kind, object: KubernetesObject): string[] {
  const { namespace = "", name } = object.metadata;
  const cells = kind.cells(object);
  return kind.headers[1] === "NAME" && cells.length < kind.headers.length - 1
    ? [namespace, name, ...cells]
    : [namespace, ...cells];
}
