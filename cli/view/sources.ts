/** Whom the questions of the CLI go to: the running local mesh, or what --registry and --nsmgr name. */
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code, statusError } from "../../sdk/status.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { type MeshState, runningMesh } from "../mesh/state.js";

export type SourceKind = "registry" | "nsmgr" | "forwarder" | "pod";

/** One component that can be asked. */
export interface Source {
  readonly kind: SourceKind;
  readonly name: string;
  /** Empty when it is not known. */
  readonly node: string;
  readonly url: string;
}

export interface SourceOptions {
  readonly registry?: string | undefined;
  /** URL, or NAME=URL: by its name a component is found on the path of a connection. */
  readonly nsmgr?: readonly string[] | undefined;
  readonly forwarder?: readonly string[] | undefined;
}

/** Whether somebody other than the local mesh is meant. */
export function isNamed({ registry, nsmgr, forwarder }: SourceOptions): boolean {
  return registry !== undefined || nsmgr !== undefined || forwarder !== undefined;
}

/** How long one component may take to answer a question. */
export const questionTimeoutMs = 5000;

/**
 * Everything that can be asked, the registry first.
 * @throws FAILED_PRECONDITION when nothing is named and no local mesh runs
 */
export async function findSources(options: SourceOptions, dialer: Dialer, signal: AbortSignal): Promise<readonly Source[]> {
  if (isNamed(options)) return namedSources(options, dialer, signal);
  const mesh = runningMesh();
  if (mesh === undefined) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      "nobody to ask: no local mesh is running (`weft up --nodes 2` starts one), and neither --registry nor --nsmgr is given",
    );
  }
  return sourcesOf(mesh);
}

export function sourcesOf(mesh: MeshState): readonly Source[] {
  return [
    { kind: "registry", name: "registry", node: "", url: mesh.registry.socketUrl },
    ...mesh.nodes.map(({ name, nsmgr }) => ({ kind: "nsmgr" as const, name: nsmgr.name, node: name, url: nsmgr.socketUrl })),
    ...mesh.nodes.map(({ name, forwarder }) => ({
      kind: "forwarder" as const,
      name: forwarder.name,
      node: name,
      url: forwarder.socketUrl,
    })),
    ...mesh.pods.map(({ name, node, socketUrl }) => ({ kind: "pod" as const, name, node, url: socketUrl })),
  ];
}

export function registryOf(sources: readonly Source[]): Source {
  const registry = sources.find(({ kind }) => kind === "registry") ?? sources[0];
  if (registry === undefined)
    throw statusError(Code.FAILED_PRECONDITION, "no registry is known; name one with --registry tcp://HOST:5002");
  // a node manager answers registry questions as well, as its node sees them
  return registry;
}

/** Node managers that are not named are those that endpoints registered through. */
async function namedSources(options: SourceOptions, dialer: Dialer, signal: AbortSignal): Promise<readonly Source[]> {
  const named = [
    ...(options.nsmgr ?? []).map((text) => sourceAt("nsmgr", text)),
    ...(options.forwarder ?? []).map((text) => sourceAt("forwarder", text)),
  ];
  if (options.registry === undefined) return named;
  const registry: Source = { kind: "registry", name: "registry", node: "", url: options.registry };
  if (named.length > 0) return [registry, ...named];
  const endpoints = await listEndpoints(dialer, registry.url, signal);
  const urls = new Set(endpoints.map(({ url }) => url).filter((url) => !url.startsWith("unix:") && url !== ""));
  return [registry, ...[...urls].map((url) => ({ kind: "nsmgr" as const, name: url, node: "", url }))];
}

/** @param text  URL or NAME=URL */
function sourceAt(kind: SourceKind, text: string): Source {
  const [, name, url] = /^([\w.-]+)=(.+)$/.exec(text) ?? [];
  return { kind, name: name ?? text, node: "", url: url ?? text };
}

export async function listEndpoints(dialer: Dialer, url: string, signal: AbortSignal): Promise<NetworkServiceEndpoint[]> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(questionTimeoutMs)]);
  const found: NetworkServiceEndpoint[] = [];
  const query = NetworkServiceEndpoint.fromPartial({});
  for await (const { entry, deleted } of dialer.endpointRegistry(url).find(query, { watch: false, signal: limit })) {
    if (!deleted) found.push(entry);
  }
  return found.sort((a, b) => a.name.localeCompare(b.name));
}
