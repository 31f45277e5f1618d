/** A mesh with its pods and the traffic through them, for faults to be played on. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { NetworkService } from "../../sdk/gen/registry.js";
import { Code, statusError } from "../../sdk/status.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { toolProgram } from "../fast/tool.js";
import { type Mesh, startMesh } from "../mesh/mesh.js";
import { podSocketUrl, runFolder } from "../mesh/plan.js";
import type { MeshProcess } from "../mesh/processes.js";
import { listEndpoints } from "../view/sources.js";
import { layControlStream } from "./control-stream.js";
import { type ClientsFollowed, followClients } from "./follow-clients.js";
import { type Prober, startProber } from "./follow-prober.js";
import { stateFolder } from "./place.js";
import { clientPod, endpointPod, interfacesOf, type ProbeSettings, probePlan } from "./pods.js";
import { hasRings, needsCore, type Topology } from "./topology.js";

export interface Stage {
  readonly topology: Topology;
  readonly mesh: Mesh;
  readonly dialer: Dialer;
  readonly clients: ClientsFollowed;
  readonly prober: Prober;
  readonly signal: AbortSignal;
  /** How to start weft itself. */
  readonly self: readonly string[];
  process(name: string): MeshProcess;
  /** Why not everything is well, in a few words; undefined = all is well. */
  unwell(): Promise<string | undefined>;
  addEndpoint(pod: string): void;
  /** Resolves when the component says that it serves. @throws UNAVAILABLE it does not in time */
  serves(name: string): Promise<void>;
  /** Resolves when the endpoint is in the registry. */
  registered(pod: string): Promise<void>;
  removePod(pod: string, options: { kill: boolean }): Promise<void>;
  /** What the clock of a process shows more than the machine's. */
  setClock(name: string, offsetMs: number): void;
  /** Ends clients and prober, then the mesh. */
  stop(): Promise<void>;
}

/** Offsets of clocks, one file a process; see scripts/chaos-clock.mjs. */
export const clockFolder = join(runFolder, "clocks");
/** Newer than this must the last answered packet of a stream be. */
const freshMs = 300;
const startTimeoutMs = 120_000;

export async function openStage(
  topology: Topology,
  settings: ProbeSettings,
  { env, self, signal }: CliContext,
  onStep: (text: string) => void,
): Promise<Stage> {
  if (needsCore(topology)) await toolProgram();
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  const hook = pathToFileURL(join(dirname(self.at(-1) ?? ""), "chaos-clock.mjs")).href;
  const hooked = {
    ...env,
    NODE_OPTIONS: `${env["NODE_OPTIONS"] ?? ""} --import ${hook}`.trim(),
    WEFT_CHAOS_CLOCKS: clockFolder,
    WEFT_DRAIN_TIMEOUT: "1s",
  };
  const mesh = await startMesh({
    nodes: topology.nodes,
    self,
    env: hooked,
    dialer,
    stateRoot: stateFolder,
    signal,
    onStep,
    onEvent: () => {},
  });
  try {
    mkdirSync(clockFolder, { recursive: true });
    await registerServices(mesh, dialer, topology, signal);
    const addEndpoint = (pod: string): void => {
      const index = topology.endpoints.findIndex((endpoint) => endpoint.pod === pod);
      const endpoint = topology.endpoints[index];
      if (endpoint === undefined) throw statusError(Code.NOT_FOUND, `no endpoint "${pod}" in the topology`);
      mesh.addPod(endpointPod(endpoint, index));
    };
    const start = async (endpoints: Topology["endpoints"]): Promise<void> => {
      for (const { pod } of endpoints) addEndpoint(pod);
      await untilRegistered(mesh, dialer, endpoints, signal);
      onStep(`${endpoints.length} endpoints are registered`);
    };
    await start(topology.endpoints.filter(({ standby }) => standby !== true));
    const connections = new Map(topology.clients.map((client) => [client.pod, idsOf(client.pod, interfacesOf(client).length)]));
    const clients = followClients(connections);
    for (const client of topology.clients) mesh.addPod(clientPod(client, settings));
    layControlStream();
    const ringPods = topology.clients.filter(hasRings).map(({ pod }) => pod);
    const prober = startProber(probePlan(topology), ringPods, self, env);
    const waiting = topology.endpoints.filter(({ standby }) => standby === true);
    if (waiting.length > 0) {
      await untilConnected(clients, signal);
      await start(waiting);
    }
    const registered = (pod: string): Promise<void> =>
      untilRegistered(
        mesh,
        dialer,
        topology.endpoints.filter((endpoint) => endpoint.pod === pod),
        signal,
      );
    const stage = stageOf({ registered, topology, mesh, dialer, clients, prober, signal, self, addEndpoint });
    await untilWell(stage, startTimeoutMs);
    onStep(`${[...connections.values()].flat().length} connections carry packets in IPv4 and IPv6`);
    return stage;
  } catch (error) {
    await mesh.stop();
    dialer.close();
    throw error;
  }
}

/** As apps/client names them. */
function idsOf(pod: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${pod}-${index}`);
}

type Parts = Pick<
  Stage,
  "topology" | "mesh" | "dialer" | "clients" | "prober" | "signal" | "self" | "addEndpoint" | "registered"
>;

function stageOf(parts: Parts): Stage {
  const { mesh, dialer, prober } = parts;
  const ringCount = parts.topology.clients.filter(hasRings).reduce((sum, { connections }) => sum + connections, 0);
  const streamCount = probePlan(parts.topology).pods.flatMap(({ streams }) => streams).length + ringCount;
  return {
    ...parts,
    process(name) {
      const found = mesh.processes.get(name);
      if (found === undefined) throw statusError(Code.NOT_FOUND, `no process "${name}" in the mesh`);
      return found;
    },
    serves: (name) => untilServing(parts, name),
    async unwell() {
      const down = [...mesh.processes.values()].find(({ pid }) => pid === undefined);
      if (down !== undefined) return `${down.spec.name} is down`;
      const silent = await firstSilent(parts);
      if (silent !== undefined) return `${silent} does not serve`;
      const streams = [...prober.streams().values()];
      if (streams.length < streamCount) return "the prober has not begun";
      const stale = streams.find(({ lastAnsweredSentAtMs }) => lastAnsweredSentAtMs < prober.reportedAtMs() - freshMs);
      if (stale !== undefined) return `no packet comes back on ${stale.name}`;
      const troubled = parts.clients.troubled();
      return troubled.length === 0 ? undefined : `${troubled.length} connections in trouble, first ${troubled[0]}`;
    },
    removePod: (pod, options) => mesh.removePod(pod, options),
    setClock: (name, offsetMs) => writeFileSync(join(clockFolder, name), String(offsetMs)),
    async stop() {
      await prober.stop();
      dialer.close();
      await mesh.stop();
      rmSync(clockFolder, { recursive: true, force: true });
    },
  };
}

/** A component that does not say that it serves. */
async function firstSilent(parts: Parts): Promise<string | undefined> {
  const asked = await Promise.all(
    [...socketUrls(parts)].map(async ([name, url]) => ((await isServing(parts, url)) ? undefined : name)),
  );
  return asked.find((name) => name !== undefined);
}

/** Where components and endpoints are asked, by name. */
function socketUrls({ mesh, topology }: Parts): ReadonlyMap<string, string> {
  const { registry, nodes } = mesh.state;
  return new Map([
    ["registry", registry.socketUrl],
    ...nodes.flatMap(({ nsmgr, forwarder }) => [nsmgr, forwarder].map(({ name, socketUrl }) => [name, socketUrl] as const)),
    ...topology.endpoints.map(({ pod }) => [pod, podSocketUrl(pod)] as const),
  ]);
}

async function isServing({ dialer, signal }: Parts, url: string): Promise<boolean> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(1_000)]);
  return (await dialer.health(url, "", limit).catch(() => undefined)) === ServingStatus.SERVING;
}

async function untilServing(parts: Parts, name: string): Promise<void> {
  const url = socketUrls(parts).get(name) ?? "";
  const endMs = performance.now() + startTimeoutMs;
  while (!(await isServing(parts, url))) {
    parts.signal.throwIfAborted();
    if (performance.now() > endMs) throw statusError(Code.UNAVAILABLE, `${name} does not serve`);
    await pause(50);
  }
}

/** @throws UNAVAILABLE with what is not well when the time is up */
export async function untilWell(stage: Pick<Stage, "unwell" | "signal">, timeoutMs: number): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    stage.signal.throwIfAborted();
    const why = await stage.unwell();
    if (why === undefined) return;
    if (performance.now() > endMs) throw statusError(Code.UNAVAILABLE, `not well after ${timeoutMs} ms: ${why}`);
    await pause(50);
  }
}

async function registerServices(mesh: Mesh, dialer: Dialer, { services }: Topology, signal: AbortSignal): Promise<void> {
  const registry = dialer.serviceRegistry(mesh.state.registry.socketUrl);
  for (const service of services) {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(5_000)]);
    await registry.register(NetworkService.fromPartial({ ...service }), { signal: limit });
  }
}

async function untilRegistered(mesh: Mesh, dialer: Dialer, endpoints: Topology["endpoints"], signal: AbortSignal): Promise<void> {
  const endMs = performance.now() + startTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const known = await listEndpoints(dialer, mesh.state.registry.socketUrl, signal);
    const missing = endpoints.find(({ pod }) => !known.some(({ name }) => name === pod || name.startsWith(`${pod}-`)));
    if (missing === undefined) return;
    if (performance.now() > endMs) throw statusError(Code.UNAVAILABLE, `endpoint ${missing.pod} is not registered`);
    await pause(100);
  }
}

async function untilConnected(clients: ClientsFollowed, signal: AbortSignal): Promise<void> {
  const endMs = performance.now() + startTimeoutMs;
  for (let waiting = clients.troubled(); waiting.length > 0; waiting = clients.troubled()) {
    signal.throwIfAborted();
    if (performance.now() > endMs) throw statusError(Code.UNAVAILABLE, `${waiting.length} clients are not connected`);
    await pause(50);
  }
}
