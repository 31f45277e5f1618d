/** A domain of the shipped components in a world: registry, nodes, endpoints, clients, each a process that can die. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { forwarderSettings } from "../../forwarder/config.js";
import { startForwarder } from "../../forwarder/start.js";
import { nodeLabels, nsmgrSettings } from "../../nsmgr/config.js";
import { startNsmgr } from "../../nsmgr/main.js";
import { registrySettings } from "../../registry/config.js";
import type { Entry } from "../../registry/kind.js";
import { startRegistry } from "../../registry/main.js";
import { createMemoryStores } from "../../registry/store/memory.js";
import type { Store, Stores } from "../../registry/store/store.js";
import { readSettings, type Table, type Values } from "../../sdk/config/table.js";
import type { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import type { MonitorHub } from "../../sdk/monitor/hub.js";
import { createKernel, createModelDataPlane, type Kernels, livePaths, pathFrom } from "./kernel.js";
import { forgetNamespaces } from "./model-netns.js";
import type { Network } from "./network.js";
import {
  type DomainPlan,
  launch,
  nsmgrUrl,
  type Part,
  registryUrl,
  type Shared,
  type SimClient,
  type SimEndpoint,
} from "./part.js";
import { clientPart, endpointPart } from "./workloads.js";
import type { World } from "./world.js";

export interface SimRegistry extends Part {
  /** What it has stored; outlives its process when the plan says so. */
  readonly stores: Stores | undefined;
  /** What it has stored now, to come back to. */
  snapshot(): Snapshot;
  /** From its next start on its store is as it was then. */
  rollBack(snapshot: Snapshot): void;
}
export interface Snapshot {
  readonly services: readonly NetworkService[];
  readonly endpoints: readonly NetworkServiceEndpoint[];
}

export interface Domain {
  readonly registry: SimRegistry;
  /** Those of nodes that there still are, as the forwarders. */
  readonly nsmgrs: readonly (Part & { hub: MonitorHub | undefined })[];
  readonly forwarders: readonly (Part & { hub: MonitorHub | undefined })[];
  /** Nodes that are gone for good. */
  readonly down: Set<string>;
  /** Those that were replaced or are gone are among them. */
  readonly endpoints: readonly SimEndpoint[];
  readonly clients: readonly SimClient[];
  readonly kernels: Kernels;
  /** Everything that may be up now, in the order of starting. */
  readonly parts: readonly Part[];
  /** The namespace to which packets of that client come, by whichever of its interfaces. */
  alive(client: SimClient): string | undefined;
  /** All paths of clients that packets pass. */
  paths(): ReturnType<typeof livePaths>;
  /** A new pod on that node that takes the endpoint's name; not started yet. */
  replace(endpoint: SimEndpoint, node: number): SimEndpoint;
  end(): void;
}

export function createDomain(world: World, network: Network, plan: DomainPlan): Domain {
  forgetNamespaces();
  const folder = mkdtempSync(join(tmpdir(), "wt-simulation-"));
  const nodes = Array.from({ length: plan.nodes }, (_, index) => `node-${index + 1}`);
  const kernels: Kernels = {
    all: nodes.map((node, index) => createKernel(node, `127.0.0.${index + 1}`)),
    pods: new Set(),
    deaf: new Set(),
    onChange: () => {},
    onOverlap: () => {},
  };
  const shared: Shared = { world, network, plan, kernels, folder };
  const registry = registryPart(shared);
  const nsmgrs = nodes.map((node, index) => nsmgrPart(shared, node, index));
  const forwarders = nodes.map((node, index) => forwarderPart(shared, node, index));
  const endpoints = plan.endpoints.map((node, index) => endpointPart(shared, nodes[node] ?? "node-1", index));
  const clients = plan.clients.map((node, index) => clientPart(shared, nodes[node] ?? "node-1", index));
  const down = new Set<string>();
  const isCut = (one: string, other: string): boolean => network.wire.isCut(one, other);
  return {
    registry,
    down,
    get nsmgrs() {
      return nsmgrs.filter(({ node }) => !down.has(node));
    },
    get forwarders() {
      return forwarders.filter(({ node }) => !down.has(node));
    },
    endpoints,
    clients,
    kernels,
    get parts() {
      const up = endpoints.filter(({ gone, replaced }) => !gone && !replaced);
      return [registry, ...this.nsmgrs, ...this.forwarders, ...up, ...clients.filter(({ gone }) => !gone)];
    },
    alive: ({ netnsUrl, interfaceName }) =>
      (pathFrom(kernels, netnsUrl, interfaceName, isCut) ?? pathFrom(kernels, netnsUrl, undefined, isCut))?.netnsUrl,
    paths: () => livePaths(kernels, isCut),
    replace(endpoint, node) {
      const again = endpoints.filter(({ name }) => name === endpoint.name).length;
      const index = Number(endpoint.name.slice("nse-".length)) - 1;
      const made = endpointPart(shared, nodes[node] ?? "node-1", index, again);
      endpoint.replaced = true;
      endpoints.push(made);
      return made;
    },
    end: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function registryPart(shared: Shared): SimRegistry {
  let kept: Stores | undefined;
  let back: Snapshot | undefined;
  const part: SimRegistry = {
    name: "registry",
    node: "registry",
    process: undefined,
    stop: undefined,
    get stores() {
      return kept;
    },
    snapshot: () => ({ services: entriesOf(kept?.services), endpoints: entriesOf(kept?.endpoints) }),
    rollBack(snapshot) {
      back = snapshot;
    },
    start: () =>
      launch(shared, part, async (process, log) => {
        const config = settings("registry", registrySettings, {
          NSM_LISTEN_ON: registryUrl,
          WEFT_STORE: "memory",
          NSM_EXPIRE_PERIOD: "20s",
        });
        const stores = await storesWith(back ?? (shared.plan.durableRegistry ? part.snapshot() : undefined));
        back = undefined;
        kept = stores;
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

/** As read from a disk. */
async function storesWith(snapshot: Snapshot | undefined): Promise<Stores> {
  const stores = createMemoryStores();
  for (const entry of snapshot?.services ?? []) await stores.services.replace(entry.name, undefined, entry);
  for (const entry of snapshot?.endpoints ?? []) await stores.endpoints.replace(entry.name, undefined, entry);
  return stores;
}

function entriesOf<T extends Entry>(store: Store<T> | undefined): T[] {
  return [...(store?.table.places() ?? [])].flatMap(({ entry }) => entry ?? []);
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
          owedCloses: {
            note: (owed) => process.alive && kernel.owed.note(owed),
            settle: (owed) => process.alive && kernel.owed.settle(owed),
            all: kernel.owed.all,
          },
        });
        part.hub = running.hub;
        return running.stop;
      }),
  };
  return part;
}

function settings<T extends Table>(name: string, table: T, env: Readonly<Record<string, string>>): Values<T> {
  const read = readSettings({ name, summary: "" }, table, {
    argv: [],
    env: { WEFT_INSECURE: "true", WEFT_DRAIN_TIMEOUT: "200ms", ...env },
  });
  if (!read.ok) throw new Error(read.text);
  return read.values;
}
