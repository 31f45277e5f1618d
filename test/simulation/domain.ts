/** A domain of the shipped components in a world: registry, nodes, endpoints, clients, each a process that can die. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { forwarderSettings } from "../../forwarder/config.js";
import { startForwarder } from "../../forwarder/start.js";
import { nodeLabels, nsmgrSettings } from "../../nsmgr/config.js";
import { startNsmgr } from "../../nsmgr/main.js";
import { registrySettings } from "../../registry/config.js";
import { startRegistry } from "../../registry/main.js";
import { createMemoryStores } from "../../registry/store/memory.js";
import type { Stores } from "../../registry/store/store.js";
import type { Change } from "../../sdk/client/changes.js";
import { type ClientConnection, connect } from "../../sdk/client/connect.js";
import { readSettings, type Table, type Values } from "../../sdk/config/table.js";
import { type Serving, serve } from "../../sdk/endpoint/serve.js";
import type { MonitorHub } from "../../sdk/monitor/hub.js";
import { type Log, silentLog } from "../../sdk/telemetry/log.js";
import { createKernel, createModelDataPlane, type Kernels, pathFrom } from "./kernel.js";
import { forgetNamespaces, modelNetns } from "./model-netns.js";
import type { Network } from "./network.js";
import type { SimProcess, World } from "./world.js";

export interface Part {
  readonly name: string;
  readonly node: string;
  process: SimProcess | undefined;
  /** Starts it, as its supervisor would. */
  start(): void;
  /** Ends it as SIGTERM would; resolves when it has ended. */
  stop: (() => Promise<void>) | undefined;
}

export interface SimEndpoint extends Part {
  readonly netnsUrl: string;
  readonly cidr: string;
  serving: Serving | undefined;
}

export interface SimClient extends Part {
  readonly netnsUrl: string;
  readonly interfaceName: string;
  connection: ClientConnection | undefined;
  readonly changes: Change[];
  /** In trouble, as its own events say. */
  troubled: boolean;
}

export interface Domain {
  readonly registry: Part;
  readonly nsmgrs: readonly (Part & { hub: MonitorHub | undefined })[];
  readonly forwarders: readonly (Part & { hub: MonitorHub | undefined })[];
  readonly endpoints: readonly SimEndpoint[];
  readonly clients: readonly SimClient[];
  readonly kernels: Kernels;
  /** Everything, in the order of starting. */
  readonly parts: readonly Part[];
  alive(client: SimClient): string | undefined;
  end(): void;
}

export interface DomainPlan {
  readonly nodes: number;
  readonly endpoints: readonly number[];
  readonly clients: readonly number[];
  /** The registry keeps its entries over a restart, as with lmdb. */
  readonly durableRegistry: boolean;
  readonly tokenLifeMs: number;
  readonly log?: (process: string) => Log;
}

export const service = "simulated";

export function createDomain(world: World, network: Network, plan: DomainPlan): Domain {
  forgetNamespaces();
  const folder = mkdtempSync(join(tmpdir(), "wt-simulation-"));
  const nodes = Array.from({ length: plan.nodes }, (_, index) => `node-${index + 1}`);
  const kernels: Kernels = {
    all: nodes.map((node, index) => createKernel(node, `127.0.0.${index + 1}`)),
    pods: new Set(),
    onChange: () => {},
  };
  const shared: Shared = { world, network, plan, kernels, folder };
  const registry = registryPart(shared);
  const nsmgrs = nodes.map((node, index) => nsmgrPart(shared, node, index));
  const forwarders = nodes.map((node, index) => forwarderPart(shared, node, index));
  const endpoints = plan.endpoints.map((node, index) => endpointPart(shared, nodes[node] ?? "node-1", index));
  const clients = plan.clients.map((node, index) => clientPart(shared, nodes[node] ?? "node-1", index));
  const isCut = (one: string, other: string): boolean => network.isCut(one, other);
  return {
    registry,
    nsmgrs,
    forwarders,
    endpoints,
    clients,
    kernels,
    parts: [registry, ...nsmgrs, ...forwarders, ...endpoints, ...clients],
    alive: ({ netnsUrl, interfaceName }) => pathFrom(kernels, netnsUrl, interfaceName, isCut)?.netnsUrl,
    end: () => rmSync(folder, { recursive: true, force: true }),
  };
}

interface Shared {
  readonly world: World;
  readonly network: Network;
  readonly plan: DomainPlan;
  readonly kernels: Kernels;
  readonly folder: string;
}

const nsmgrUrl = (node: string): string => `unix:///${node}/nsmgr`;
const registryUrl = "tcp://10.0.0.254:5002";

/** Runs a start in the part's own process; what it throws ends that process, and its supervisor starts it again. */
function launch(shared: Shared, part: Part, run: (process: SimProcess, log: Log) => Promise<() => Promise<void>>): void {
  const { world, plan } = shared;
  const process = world.start(part.name, part.node);
  part.process = process;
  part.stop = undefined;
  const log = plan.log?.(part.name) ?? silentLog;
  world.at(world.nowMs(), process, () => {
    run(process, log).then(
      (stop) => {
        if (process.alive) part.stop = stop;
      },
      () => {
        if (!process.alive || part.process !== process) return;
        world.kill(process);
        world.at(world.nowMs() + 250, undefined, () => {
          if (part.process === process) part.start();
        });
      },
    );
  });
}

function registryPart(shared: Shared): Part {
  let kept: Stores | undefined;
  const part: Part = {
    name: "registry",
    node: "registry",
    process: undefined,
    stop: undefined,
    start: () =>
      launch(shared, part, async (process, log) => {
        const config = settings("registry", registrySettings, {
          NSM_LISTEN_ON: registryUrl,
          WEFT_STORE: "memory",
          NSM_EXPIRE_PERIOD: "20s",
        });
        if (kept === undefined || !shared.plan.durableRegistry) kept = createMemoryStores();
        const stores = kept;
        const running = await startRegistry(config, {
          log,
          signal: new AbortController().signal,
          transport: shared.network.transportOf(process),
          stores: { ...stores, close: async () => {} } as Stores,
        });
        return running.stop;
      }),
  };
  return part;
}

function nsmgrPart(shared: Shared, node: string, index: number): Part & { hub: MonitorHub | undefined } {
  const part: Part & { hub: MonitorHub | undefined } = {
    name: `nsmgr-${index + 1}`,
    node,
    process: undefined,
    stop: undefined,
    hub: undefined,
    start: () =>
      launch(shared, part, async (process, log) => {
        const env = {
          NSM_NAME: `nsmgr-${index + 1}`,
          NSM_LISTEN_ON: `${nsmgrUrl(node)},tcp://10.0.0.${index + 1}:5001`,
          WEFT_PUBLIC_URL: `tcp://10.0.0.${index + 1}:5001`,
          NSM_REGISTRY_URL: registryUrl,
          WEFT_EXCLUDED_PREFIXES_FILE: "",
          NSM_MAX_TOKEN_LIFETIME: `${shared.plan.tokenLifeMs}ms`,
          WEFT_STATE_DIR: join(shared.folder, `nsmgr-${index + 1}`),
        };
        const config = { ...settings("nsmgr", nsmgrSettings, env), nodeLabels: nodeLabels({ NODE_NAME: node }) };
        const running = await startNsmgr(config, { log, transport: shared.network.transportOf(process) });
        part.hub = running.hub;
        return running.stop;
      }),
  };
  return part;
}

function forwarderPart(shared: Shared, node: string, index: number): Part & { hub: MonitorHub | undefined } {
  const kernel = shared.kernels.all[index];
  const part: Part & { hub: MonitorHub | undefined } = {
    name: `forwarder-${index + 1}`,
    node,
    process: undefined,
    stop: undefined,
    hub: undefined,
    start: () =>
      launch(shared, part, async (process, log) => {
        if (kernel === undefined) throw new Error(`no kernel for ${node}`);
        const env = {
          NSM_NAME: part.name,
          NSM_LISTEN_ON: `unix:///${node}/forwarder`,
          NSM_CONNECT_TO: nsmgrUrl(node),
          NSM_TUNNEL_IP: kernel.address,
          WEFT_DATAPLANE: "none",
          NSM_MAX_TOKEN_LIFETIME: `${shared.plan.tokenLifeMs}ms`,
        };
        const running = await startForwarder(settings("forwarder", forwarderSettings, env), {
          log,
          transport: shared.network.transportOf(process),
          dataPlane: createModelDataPlane(kernel, shared.kernels, shared.world, process),
        });
        part.hub = running.hub;
        return running.stop;
      }),
  };
  return part;
}

function podOf(shared: Shared, name: string): string {
  const { path } = modelNetns(name);
  const url = `file://${path}`;
  shared.kernels.pods.add(url);
  return url;
}

function endpointPart(shared: Shared, node: string, index: number): SimEndpoint {
  const name = `nse-${index + 1}`;
  const netnsUrl = podOf(shared, name);
  const cidr = `172.16.${index}.0/24`;
  const part: SimEndpoint = {
    name,
    node,
    netnsUrl,
    cidr,
    process: undefined,
    stop: undefined,
    serving: undefined,
    start: () =>
      launch(shared, part, async (process, log) => {
        shared.kernels.pods.add(netnsUrl);
        const serving = await serve({
          name,
          services: [service],
          cidrs: [[cidr]],
          nsmgr: nsmgrUrl(node),
          listenOn: [`unix:///${node}/${name}`],
          netns: netnsUrl,
          stateDir: join(shared.folder, name),
          maxTokenLifetimeMs: shared.plan.tokenLifeMs,
          transport: shared.network.transportOf(process),
          log,
          signal: new AbortController().signal,
        });
        part.serving = serving;
        return () => serving.close();
      }),
  };
  return part;
}

function clientPart(shared: Shared, node: string, index: number): SimClient {
  const name = `client-${index + 1}`;
  const netnsUrl = podOf(shared, name);
  const interfaceName = "nsm-1";
  const part: SimClient = {
    name,
    node,
    netnsUrl,
    interfaceName,
    process: undefined,
    stop: undefined,
    connection: undefined,
    changes: [],
    troubled: false,
    start: () =>
      launch(shared, part, async (process, log) => {
        part.connection = undefined;
        part.troubled = false;
        const stopping = new AbortController();
        const isCut = (one: string, other: string): boolean => shared.network.isCut(one, other);
        part.stop = async () => stopping.abort();
        const connection = await connect({
          url: `kernel://${service}/${interfaceName}`,
          name,
          id: `${name}-0`,
          nsmgr: nsmgrUrl(node),
          netnsUrl,
          dialer: shared.network.transportOf(process).createDialer({ dialTimeoutMs: 750 }),
          maxTokenLifetimeMs: shared.plan.tokenLifeMs,
          liveness: livenessOf(shared, netnsUrl, interfaceName, isCut),
          livenessIntervalMs: 100,
          livenessTimeoutMs: 300,
          workload: { nodeName: node },
          log,
          signal: stopping.signal,
        });
        part.connection = connection;
        void follow(part, connection);
        return () => connection.close();
      }),
  };
  return part;
}

/** Echoes answer at once while the path stands; else the verdict comes after the timeout. */
function livenessOf(shared: Shared, netnsUrl: string, interfaceName: string, isCut: (one: string, other: string) => boolean) {
  return async (
    _connection: unknown,
    options: { readonly timeoutMs: number; readonly intervalMs: number; readonly signal: AbortSignal },
  ) => {
    const endMs = performance.now() + options.timeoutMs;
    for (;;) {
      if (pathFrom(shared.kernels, netnsUrl, interfaceName, isCut) !== undefined) return true;
      if (performance.now() >= endMs || options.signal.aborted) return false;
      await new Promise((resolve) => setTimeout(resolve, options.intervalMs));
    }
  };
}

async function follow(part: SimClient, connection: ClientConnection): Promise<void> {
  for await (const change of connection.changes) {
    part.changes.push(change);
    if (change.kind === "trouble") part.troubled = true;
    if (change.kind === "healed") part.troubled = false;
  }
}

function settings<T extends Table>(name: string, table: T, env: Readonly<Record<string, string>>): Values<T> {
  const read = readSettings({ name, summary: "" }, table, {
    argv: [],
    env: { WEFT_INSECURE: "true", WEFT_DRAIN_TIMEOUT: "200ms", ...env },
  });
  if (!read.ok) throw new Error(read.text);
  return read.values;
}
