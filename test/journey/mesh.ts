/**
 * A mesh of real servers on real sockets for one test: registry and nodes in this process, or each in its own.
 * No root: the forwarders negotiate every mechanism and build nothing.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type ServeOptions, type Serving, serve } from "../../sdk/endpoint/serve.js";
import { Connection } from "../../sdk/gen/connection.js";
import { NetworkServiceRequest } from "../../sdk/gen/networkservice.js";
import type { NetworkService } from "../../sdk/gen/registry.js";
import { NetworkService as NetworkServiceMessage } from "../../sdk/gen/registry.js";
import type { Identity } from "../../sdk/identity/identity.js";
import { ownInodeUrl } from "../../sdk/linux/netns.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { createLog } from "../../sdk/telemetry/log.js";
import { timestampOf } from "../../sdk/timestamp.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { forwarderComponent, nodeComponent, nsmgrComponent, registryComponent } from "../../testing/components.js";
import { freePort } from "./free-port.js";
import { type ComponentProcess, componentProcess } from "./process.js";
import type { Shape } from "./shapes.js";
import { until } from "./until.js";

export interface Part {
  /** Of its process; undefined in a mesh that is in this process, and while it is not running. */
  readonly pid?: number | undefined;
  start(): Promise<void>;
  stop(): Promise<unknown>;
  /** Only in a mesh of processes. */
  kill(): Promise<void>;
  /** What it has logged. */
  readonly output: string;
}

export interface MeshNode {
  readonly name: string;
  readonly url: string;
  readonly nsmgr: Part;
  readonly forwarders: ReadonlyMap<string, Part>;
  /** Starts one more forwarder and waits until the manager can use it. */
  addForwarder(name: string, labels?: string): Promise<void>;
  serve(options: Partial<ServeOptions> & { name: string }): Promise<Serving>;
  /** The manager's connections, as its monitor tells. */
  connections(): Promise<Connection[]>;
}

export interface Mesh {
  readonly folder: string;
  readonly registry: Part;
  readonly registryUrl: string;
  readonly dialer: Dialer;
  readonly signal: AbortSignal;
  node(name: string): MeshNode;
  /** Runs it at the end of the test, before what was started earlier stops. */
  atEnd(stop: () => unknown): void;
  /** Asks a node for a service, as a client without any healing would. */
  request(node: string, asked: Asked): Promise<Connection>;
  refresh(node: string, connection: Connection): Promise<Connection>;
  close(node: string, connection: Connection): Promise<void>;
  registerService(service: Parameters<typeof NetworkServiceMessage.fromPartial>[0]): Promise<NetworkService>;
}

export interface Asked {
  readonly service: string;
  /** Connection id and id of segment 0. */
  readonly id?: string;
  readonly client?: string;
  readonly labels?: Record<string, string>;
  readonly endpoint?: string;
  /** How long the client vouches for itself, in milliseconds. */
  readonly lifetimeMs?: number;
  readonly excludedPrefixes?: string[];
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
  /** Of a client with an identity of its own. */
  readonly dialer?: Dialer;
}

export interface MeshOptions {
  readonly nodes?: readonly string[];
  /** Each component a process of its own. */
  readonly processes?: boolean;
  /** "joined": manager and first forwarder of each node are one process (`weft node`). Default: each its own. */
  readonly shape?: Shape;
  /** Default: memory. Where `etcd` is says `env`. */
  readonly store?: "memory" | "lmdb" | "etcd";
  /** Names of managers by node; default nsmgr-NODE. */
  readonly names?: Readonly<Record<string, string>>;
  /** Further settings of every component. */
  readonly env?: Readonly<Record<string, string>>;
  /** Of clients and endpoints of the test; where the components get theirs says `env`. Default: none, and plain text. */
  readonly identity?: Identity | undefined;
}

let ids = 0;

export async function startMesh(t: TestContext, options: MeshOptions = {}): Promise<Mesh> {
  const folder = mkdtempSync(join(tmpdir(), "weft-j-"));
  const stopping = new AbortController();
  const { signal } = stopping;
  const dialer = createDialer({ dialTimeoutMs: 2_000, identity: options.identity });
  const stops: (() => unknown)[] = [];
  t.after(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
    stopping.abort();
    dialer.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const env = { NSM_LOG_LEVEL: "debug", WEFT_INSECURE: "true", WEFT_DRAIN_TIMEOUT: "200ms", ...options.env };
  const part = async (kind: Kind, settings: Record<string, string>, url: string): Promise<Part> => {
    const all = { ...env, ...settings };
    const made = options.processes ? processPart(componentProcess(kind, all, { dialer, url, signal })) : localPart(kind, all);
    stops.push(() => made.stop());
    await made.start();
    return made;
  };
  const registryUrl = `unix://${folder}/registry.sock`;
  const store = { WEFT_STORE: options.store ?? "memory", WEFT_STATE_DIR: join(folder, "registry") };
  const registry = await part("registry", { NSM_LISTEN_ON: registryUrl, ...store }, registryUrl);
  const nodes = new Map<string, MeshNode>();
  for (const name of options.nodes ?? ["n1"]) {
    nodes.set(
      name,
      await startNode({
        name,
        identity: options.identity,
        joined: options.shape === "joined",
        managerName: options.names?.[name] ?? `nsmgr-${name}`,
        folder,
        registryUrl,
        dialer,
        signal,
        part,
        stops,
      }),
    );
  }
  const node = (name: string): MeshNode => {
    const found = nodes.get(name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  };
  return {
    folder,
    registry,
    registryUrl,
    dialer,
    signal,
    node,
    atEnd: (stop) => void stops.push(stop),
    request: (name, asked) =>
      (asked.dialer ?? dialer).connections(node(name).url).request(requestOf(asked), {
        signal: asked.signal ?? signal,
        deadlineMs: asked.deadlineMs ?? Date.now() + 15_000,
      }),
    refresh: (name, connection) =>
      dialer
        .connections(node(name).url)
        .request(NetworkServiceRequest.fromPartial({ connection }), { signal, deadlineMs: Date.now() + 15_000 }),
    close: (name, connection) =>
      dialer.connections(node(name).url).close(connection, { signal, deadlineMs: Date.now() + 15_000 }),
    registerService: (service) =>
      dialer.serviceRegistry(registryUrl).register(NetworkServiceMessage.fromPartial(service), { signal }),
  };
}

type Kind = "registry" | "nsmgr" | "forwarder" | "node";
interface NodeParts {
  readonly name: string;
  readonly identity: Identity | undefined;
  readonly joined: boolean;
  readonly managerName: string;
  readonly folder: string;
  readonly registryUrl: string;
  readonly dialer: Dialer;
  readonly signal: AbortSignal;
  readonly part: (kind: Kind, settings: Record<string, string>, url: string) => Promise<Part>;
  readonly stops: (() => unknown)[];
}

async function startNode(parts: NodeParts): Promise<MeshNode> {
  const { name, folder, dialer, signal, stops } = parts;
  const url = `unix://${folder}/${name}.sock`;
  const common = { NODE_NAME: name };
  const port = await freePort();
  const first = `forwarder-${name}`;
  const ofFirst = { WEFT_FORWARDER_NAME: first, WEFT_FORWARDER_LISTEN_ON: `unix://${folder}/${first}.sock` };
  const nsmgr = await parts.part(
    parts.joined ? "node" : "nsmgr",
    {
      ...common,
      ...(parts.joined && { ...ofFirst, NSM_TUNNEL_IP: "127.0.0.1", WEFT_DATAPLANE: "none" }),
      NSM_NAME: parts.managerName,
      NSM_LISTEN_ON: `${url},tcp://127.0.0.1:${port}`,
      NSM_REGISTRY_URL: parts.registryUrl,
      WEFT_STATE_DIR: join(folder, parts.managerName),
      WEFT_EXCLUDED_PREFIXES_FILE: join(folder, `${name}-excluded.yaml`),
    },
    url,
  );
  const forwarders = new Map<string, Part>();
  const addForwarder = async (forwarder: string, labels = "p2p:true"): Promise<void> => {
    const socket = `unix://${folder}/${forwarder}.sock`;
    const settings = {
      ...common,
      NSM_NAME: forwarder,
      NSM_LABELS: labels,
      NSM_LISTEN_ON: socket,
      NSM_CONNECT_TO: url,
      NSM_TUNNEL_IP: "127.0.0.1",
      WEFT_DATAPLANE: "none",
      WEFT_STATE_DIR: join(folder, forwarder),
    };
    forwarders.set(forwarder, await parts.part("forwarder", settings, socket));
    await registered(forwarder);
  };
  const registered = (forwarder: string): Promise<void> =>
    until(`${forwarder} is registered`, async () => {
      const { facts } = await dialer.inspect(url).getReport({ section: "forwarders" }, { signal });
      return facts.some((fact) => fact.name === forwarder);
    });
  if (parts.joined) {
    forwarders.set(first, nsmgr);
    await registered(first);
  } else await addForwarder(first);
  await until(`${name} is ready`, async () => (await dialer.health(url, "", signal)) === ServingStatus.SERVING);
  return {
    name,
    url,
    nsmgr,
    forwarders,
    addForwarder,
    async serve(options) {
      // closed, it is gone without a word, as one that was killed
      const quiet = { unregisterItself: false, identity: parts.identity };
      const serving = await serve({ services: ["service"], cidrs: ["172.16.0.0/24"], nsmgr: url, signal, ...quiet, ...options });
      stops.push(() => serving.close());
      return serving;
    },
    async connections() {
      const leave = new AbortController();
      try {
        for await (const event of dialer.monitor(url, { path_segments: [], network_services: [] }, leave.signal)) {
          return Object.values(event.connections);
        }
        return [];
      } finally {
        leave.abort();
      }
    },
  };
}

function localPart(kind: Kind, env: Record<string, string>): Part {
  const lines: string[] = [];
  const log = createLog({ name: kind, level: "debug", destination: { write: (line: string) => lines.push(line) } });
  const make = { registry: registryComponent, nsmgr: nsmgrComponent, forwarder: forwarderComponent, node: nodeComponent }[kind];
  const component = make(env, log);
  return {
    start: () => component.start(),
    stop: () => component.stop(),
    kill: () => Promise.reject(new Error("only processes can be killed; start the mesh with `processes`")),
    get output() {
      return lines.join("");
    },
  };
}

function processPart(process: ComponentProcess): Part {
  return process;
}

function requestOf(asked: Asked): NetworkServiceRequest {
  const id = asked.id ?? `c${++ids}`;
  const expires = timestampOf(Date.now() + (asked.lifetimeMs ?? 600_000));
  return NetworkServiceRequest.fromPartial({
    connection: {
      id,
      network_service: asked.service,
      network_service_endpoint_name: asked.endpoint ?? "",
      labels: asked.labels ?? {},
      path: { index: 0, path_segments: [{ name: asked.client ?? "client", id, expires }] },
      context: { ip_context: { excluded_prefixes: asked.excludedPrefixes ?? [] } },
    },
    mechanism_preferences: [{ cls: "LOCAL", type: "KERNEL", parameters: { inodeURL: ownInodeUrl(), name: "nsm-1" } }],
  });
}

export function names(connection: Connection): string[] {
  return connection.path?.path_segments.map((segment) => segment.name) ?? [];
}

/** The same connection as the client would send it when it lets its segment expire then. */
export function withLifetime(connection: Connection, lifetimeMs: number): Connection {
  const [first, ...others] = connection.path?.path_segments ?? [];
  const own = { ...first, expires: timestampOf(Date.now() + lifetimeMs) };
  return Connection.fromPartial({ ...connection, path: { index: 0, path_segments: [own, ...others] } });
}
