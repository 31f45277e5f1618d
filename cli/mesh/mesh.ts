/**
 * A local mesh held by this process: registry, and per node one nsmgr and one forwarder, each a process of its own in
 * its namespace; pods on top. Built in numbered steps, taken down in reverse.
 */
import { mkdirSync } from "node:fs";
import { deleteNamedNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { removeRemains } from "./clean.js";
import { logFileOf, logFolder, type NodePlan, nodePlan, podNetns, podSocketUrl, registryPlan } from "./plan.js";
import { type MeshProcess, type ProcessSpec, startProcess } from "./processes.js";
import { waitUntilServing } from "./ready.js";
import { forwarderSpec, nsmgrSpec, podProcess, registrySpec, spareForwarderSpec } from "./specs.js";
import { type MeshState, processStartTime, runningMesh, writeState } from "./state.js";
import { buildUnderlay, makePodNetns } from "./underlay.js";

/** A workload to run: a namespace and one process in it. */
export interface PodSpec {
  readonly name: string;
  /** "node-1" … */
  readonly node: string;
  /** What runs in it, in words, for `weft get`. */
  readonly role: string;
  /** Arguments to `weft`: ["client"], ["endpoint"], ["firewall"], … */
  readonly args: readonly string[];
  /** A program of the user's own instead of `weft`: what to run, with its arguments, and in which folder. */
  readonly program?: { readonly command: readonly string[]; readonly folder: string };
  readonly env: Readonly<Record<string, string>>;
  /** Its process is started again when it ends by itself, as a kubelet would. Default: no. */
  readonly restart?: boolean;
}

export interface Mesh {
  readonly state: MeshState;
  /** Every process that runs or is about to be started again, of components and pods, by name. */
  readonly processes: ReadonlyMap<string, MeshProcess>;
  /** @throws ALREADY_EXISTS, NOT_FOUND (node), INVALID_ARGUMENT (name) */
  addPod(spec: PodSpec): MeshProcess;
  /**
   * A second forwarder on a node, which serves when this resolves.
   * @throws NOT_FOUND (node); UNAVAILABLE it does not serve in time
   */
  addForwarder(node: string): Promise<SpareForwarder>;
  /** Ends the process (at once when `kill`), then takes the namespace away. Unknown names are fine. */
  removePod(name: string, options?: { kill: boolean }): Promise<void>;
  /** Ends everything in reverse order and removes it. */
  stop(): Promise<void>;
}

export interface SpareForwarder {
  readonly name: string;
  /** Ends it; connections that it still carries break when they expire. */
  remove(): Promise<void>;
}

export interface MeshOptions {
  readonly nodes: number;
  /** How to start weft itself: program and first arguments. */
  readonly self: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly dialer: Dialer;
  /** Where processes keep what must survive them. Default: the run folder. */
  readonly stateRoot?: string;
  readonly signal: AbortSignal;
  /** Told of each step done. */
  readonly onStep: (text: string) => void;
  /** Told of starts and ends of processes. */
  readonly onEvent: (text: string) => void;
}

const startTimeoutMs = 60_000;
const graceMs = 5000;

/**
 * Builds a mesh and resolves when every component serves. On failure nothing stays.
 * @throws ALREADY_EXISTS when one runs already
 */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const running = runningMesh();
  if (running !== undefined) {
    const found = `a mesh of ${running.nodes.length} nodes is running (pid ${running.pid})`;
    throw statusError(Code.ALREADY_EXISTS, `${found}; take it down with \`weft down\``);
  }
  const removed = await removeRemains(graceMs, logFileOf("supervisor"));
  if (removed.namespaces.length + removed.processes > 0) {
    options.onStep(`removed what an earlier run left: ${removed.namespaces.length} namespaces, ${removed.processes} processes`);
  }
  mkdirSync(logFolder, { recursive: true, mode: 0o755 });
  const nodes = Array.from({ length: options.nodes }, (_, index) => nodePlan(index + 1));
  const processes: MeshProcess[] = [];
  try {
    await buildUnderlay(nodes);
    options.onStep(underlayStep(nodes));
    await startControlPlane(nodes, processes, options);
    return holdMesh(nodes, processes, options);
  } catch (error) {
    await Promise.all(processes.map((process) => process.stop(graceMs)));
    await removeRemains(graceMs);
    throw error;
  }
}

function underlayStep(nodes: readonly NodePlan[]): string {
  const addresses = nodes.map((node) => `${node.name} ${node.address4}`).join(", ");
  return `underlay: ${addresses} (and ${nodes[0]?.address6 ?? ""} …), joined by a bridge`;
}

async function startControlPlane(nodes: readonly NodePlan[], processes: MeshProcess[], options: MeshOptions): Promise<void> {
  const { dialer, signal } = options;
  const limits = { timeoutMs: startTimeoutMs, signal };
  const start = (spec: ProcessSpec): MeshProcess => {
    const process = startProcess(spec, options.env, options.onEvent);
    processes.push(process);
    return process;
  };
  const registry = start(registrySpec(options));
  await waitUntilServing(dialer, registry, registryPlan.socketUrl, limits);
  options.onStep(`registry serves on ${registryPlan.tcpUrl} (pid ${registry.pid})`);
  await Promise.all(
    nodes.map(async (node) => {
      // both at once: the forwarder waits for its manager, which does not serve before it has a forwarder
      const nsmgr = start(nsmgrSpec(node, options));
      const forwarder = start(forwarderSpec(node, options));
      await waitUntilServing(dialer, forwarder, node.forwarder.socketUrl, limits);
      await waitUntilServing(dialer, nsmgr, node.nsmgr.socketUrl, limits);
      options.onStep(
        `${node.name}: ${node.nsmgr.name} (pid ${nsmgr.pid}) and ${node.forwarder.name} (pid ${forwarder.pid}) serve`,
      );
    }),
  );
}

function holdMesh(nodes: readonly NodePlan[], processes: MeshProcess[], options: MeshOptions): Mesh {
  const pods = new Map<string, { spec: PodSpec; process: MeshProcess }>();
  const createdAt = new Date().toISOString();
  const describe = (): MeshState => ({
    version: 1,
    pid: process.pid,
    pidStartTime: processStartTime(process.pid) ?? "",
    createdAt,
    registry: { socketUrl: registryPlan.socketUrl, tcpUrl: registryPlan.tcpUrl },
    nodes: nodes.map(({ index: _, ...node }) => node),
    pods: [...pods.values()].map(({ spec, process }) => ({
      name: spec.name,
      node: spec.node,
      netns: podNetns(spec.name),
      role: spec.role,
      socketUrl: podSocketUrl(spec.name),
      pid: process.pid,
    })),
  });
  const removePod = async (name: string, kill: boolean): Promise<void> => {
    const pod = pods.get(name);
    if (pod === undefined) return;
    pods.delete(name);
    await pod.process.stop(kill ? 0 : graceMs);
    deleteNamedNetns(podNetns(name));
    writeState(describe());
  };
  writeState(describe());
  return {
    get state() {
      return describe();
    },
    get processes() {
      const ofPods = [...pods].map(([name, { process }]) => [name, process] as const);
      return new Map([...processes.map((process) => [process.spec.name, process] as const), ...ofPods]);
    },
    addPod(spec) {
      const netns = podNetns(spec.name);
      const node = nodeNamed(nodes, spec.node);
      if (pods.has(spec.name)) throw statusError(Code.ALREADY_EXISTS, `pod "${spec.name}" exists; choose another --pod name`);
      makePodNetns(netns);
      const process = startProcess(podProcess(spec, node, options), options.env, options.onEvent);
      pods.set(spec.name, { spec, process });
      writeState(describe());
      return process;
    },
    addForwarder: (name) => addForwarder(nodeNamed(nodes, name), processes, options),
    removePod: (name, { kill } = { kill: false }) => removePod(name, kill),
    async stop() {
      // newest first: clients give their connections back before endpoints and forwarders go
      for (const name of [...pods.keys()].reverse()) await removePod(name, false);
      for (const process of [...processes].reverse()) await process.stop(graceMs);
      await removeRemains(graceMs);
    },
  };
}

function nodeNamed(nodes: readonly NodePlan[], wanted: string): NodePlan {
  const node = nodes.find(({ name }) => name === wanted);
  if (node !== undefined) return node;
  throw statusError(Code.NOT_FOUND, `no node "${wanted}"; there are ${nodes.map(({ name }) => name).join(", ")}`);
}

/** @param processes  it stands among them as long as it is there */
async function addForwarder(node: NodePlan, processes: MeshProcess[], options: MeshOptions): Promise<SpareForwarder> {
  const spec = spareForwarderSpec(node, options);
  const process = startProcess(spec, options.env, options.onEvent);
  processes.push(process);
  const remove = async (): Promise<void> => {
    processes.splice(processes.indexOf(process), 1);
    await process.stop(graceMs);
  };
  try {
    const limits = { timeoutMs: startTimeoutMs, signal: options.signal };
    await waitUntilServing(options.dialer, process, spec.env["NSM_LISTEN_ON"] ?? "", limits);
  } catch (error) {
    await remove();
    throw error;
  }
  return { name: spec.name, remove };
}
