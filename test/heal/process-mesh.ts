/**
 * A mesh of real processes for heal tests: a registry and N nodes (manager and forwarder each), endpoints as processes,
 * clients in the test. With the kernel data plane each node and each pod is a network namespace, the nodes are joined by
 * a veth pair, and packets are real.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type ClientConnection, type ConnectOptions, connect } from "../../sdk/client/connect.js";
import type { PolicyRoute } from "../../sdk/gen/connectioncontext.js";
import { createNamedNetns, deleteNamedNetns } from "../../sdk/linux/netns.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { until } from "../../sdk/testing/until.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { policiesName } from "./endpoint-options.js";
import { endFastPlane } from "./fast-plane.js";
import { forwarderProcess, type MeshDataPlane, type MeshNode, nodeProcesses, usesCore } from "./mesh-components.js";
import { type ComponentProcess, componentProcess } from "./processes.js";
import { giveUnderlay, setUpLoopback, tunnelAddress } from "./underlay.js";

export interface ProcessMesh {
  readonly registry: ComponentProcess;
  readonly nodes: readonly MeshNode[];
  readonly dialer: Dialer;
  /** Namespaces of the nodes. */
  readonly hosts: readonly string[];
  /** Namespace of the switch between them: a port for each node, "port1" …. Empty: there is none. */
  readonly switchNetns: string;
  /** An endpoint in a pod of its own (a namespace with the kernel data plane), started. */
  endpoint(
    node: number,
    name: string,
    service: string,
    cidrs: string,
    labels?: Readonly<Record<string, string>>,
    /** Of its socket and state folder; default its name. */
    place?: string,
    /** What its pod has; default an interface. */
    kind?: "kernel" | "memif",
  ): Promise<ComponentProcess & { readonly netns: string }>;
  /** A client in a pod of its own. */
  client(
    node: number,
    options: Partial<ConnectOptions> & { url: string },
  ): Promise<ClientConnection & { readonly netns: string }>;
  /** A second forwarder on the node, started. */
  anotherForwarder(node: number): Promise<ComponentProcess>;
  /** Removes the pod's namespace, as when the pod goes. */
  removePod(netns: string): void;
}

export interface MeshOptions {
  readonly nodes: number;
  readonly dataplane: MeshDataPlane;
  /** scripts/weft.mjs of the build that registry, managers and forwarders run; default this one. */
  readonly program?: string;
  /** Manager and forwarder of each node are one process, `weft node`: `nsmgr` and `forwarder` are the same then. */
  readonly joined?: boolean;
  /** IP version of the tunnels' addresses; default 4. */
  readonly tunnels?: 4 | 6;
  /** The nodes' cables end in a switch. */
  readonly switched?: boolean;
  /** Of forwarders; default 500ms. */
  readonly pathMtuInterval?: string;
  /** That every endpoint gives its clients. */
  readonly policies?: readonly PolicyRoute[];
}

let count = 0;

export async function startProcessMesh(t: TestContext, options: MeshOptions): Promise<ProcessMesh> {
  const { nodes: nodeCount, dataplane, program, joined = false, tunnels = 4, pathMtuInterval = "500ms" } = options;
  const label = `wt-heal-${process.pid}-${++count}`;
  const folder = mkdtempSync(join(tmpdir(), "wt-heal-"));
  const dialer = createDialer({ dialTimeoutMs: 2_000 });
  const stops: (() => Promise<void> | void)[] = [];
  t.after(async () => {
    for (const undo of stops.splice(0).reverse()) await undo();
  });
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  stops.push(() => dialer.close());

  const pods = new Set<string>();
  const netnsOf = (name: string): string => {
    if (dataplane === "none") return "";
    const netns = `${label}-${name}`;
    createNamedNetns(netns);
    pods.add(netns);
    setUpLoopback(netns);
    stops.push(() => deleteNamedNetns(netns));
    return netns;
  };
  const started = async (component: ComponentProcess): Promise<ComponentProcess> => {
    stops.push(() => component.kill());
    await component.start();
    return component;
  };

  const registryUrl = `unix://${folder}/registry.sock`;
  const registry = await started(
    componentProcess({
      name: "registry",
      component: "registry",
      url: registryUrl,
      env: { WEFT_STATE_DIR: `${folder}/registry` },
      netns: "",
      dialer,
      program,
    }),
  );
  const hosts = Array.from({ length: nodeCount }, (_, index) => netnsOf(`n${index + 1}`));
  const switchNetns = options.switched === true ? netnsOf("switch") : "";
  if (dataplane !== "none") giveUnderlay(hosts, switchNetns);
  const nodes: MeshNode[] = [];
  for (const [index, host] of hosts.entries()) {
    const node = await nodeProcesses({
      index,
      netns: host,
      dataplane,
      folder,
      registryUrl,
      dialer,
      program,
      joined,
      tunnels,
      pathMtuInterval,
    });
    stops.push(() => (usesCore(dataplane) ? endFastPlane(node.stateDir) : undefined));
    await started(node.nsmgr);
    if (!joined) await started(node.forwarder);
    const serves = async (): Promise<boolean> =>
      (await dialer.health(node.url, "", AbortSignal.timeout(1_000))) === ServingStatus.SERVING;
    await until(`${node.name} to serve`, serves);
    nodes.push(node);
  }
  const nodeAt = (index: number): MeshNode => {
    const node = nodes[index];
    if (node === undefined) throw new RangeError(`there is no node ${index}`);
    return node;
  };
  return {
    registry,
    nodes,
    dialer,
    hosts,
    switchNetns,
    async endpoint(node, name, service, cidrs, labels = {}, place = name, kind = "kernel") {
      const netns = netnsOf(place);
      const listenOn = `unix://${folder}/${place}.sock`;
      const texts = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
      const endpoint = componentProcess({
        name,
        component: { kind, endpoint: [name, service, cidrs, nodeAt(node).url, listenOn, `${folder}/${place}`, ...texts] },
        url: listenOn,
        env: { [policiesName]: JSON.stringify(options.policies ?? []) },
        netns,
        dialer,
      });
      await started(endpoint);
      return { ...endpoint, netns };
    },
    async client(node, options) {
      const netns = netnsOf(`c${++count}`);
      const here =
        dataplane !== "none" ? { netnsUrl: `file:///run/netns/${netns}` } : { liveness: false as const, patienceMs: 500 };
      const connection = await connect({
        nsmgr: nodeAt(node).url,
        dialer,
        signal: new AbortController().signal,
        connectTimeoutMs: 30_000,
        ...here,
        ...options,
      });
      stops.push(() => connection.close());
      return Object.assign(Object.create(connection) as ClientConnection, { netns });
    },
    async anotherForwarder(node) {
      const { name, url: managerUrl } = nodeAt(node);
      const place = {
        netns: hosts[node] ?? "",
        underlay: tunnelAddress(node, tunnels),
        folder,
        pathMtuInterval,
        dataplane,
        dialer,
      };
      return await started(forwarderProcess({ ...place, name: `forwarder-${node + 1}b`, node: name, managerUrl }));
    },
    removePod(netns) {
      pods.delete(netns);
      deleteNamedNetns(netns);
    },
  };
}
