/**
 * A node's kernel and ledger as the simulation has them, and the data plane over them: what was built stays when the forwarder
 * dies, also half of it. Packets are not sent; whether they would arrive is read from what is built.
 */

import type {
  CrossConnect,
  DataPlane,
  DataPlaneEvent,
  KernelPort,
  OwnedObject,
  Port,
} from "../../forwarder/dataplane/dataplane.js";
import { MechanismType } from "../../sdk/api.js";
import { closeKey, type OwedClose, type OwedCloses } from "../../sdk/elements/owed-closes.js";
import { Code, statusError } from "../../sdk/status.js";
import type { SimProcess, World } from "./world.js";

/** What one connection has in the kernel, and what the ledger says it should have. */
interface Held {
  /** As built; undefined while the first one is being built. */
  built: CrossConnect | undefined;
  /** Written down before it is built. */
  intent: CrossConnect;
}

export interface Kernel {
  readonly node: string;
  readonly address: string;
  readonly held: Map<string, Held>;
  /** Kept beside the ledger. */
  readonly owed: OwedCloses;
  /** Interfaces that lost their link; the data path over them is dead. */
  readonly downLinks: Set<string>;
  /** It builds nothing for now (out of memory, somebody holds a lock). */
  isFull: boolean;
  readonly listeners: Set<(event: DataPlaneEvent) => void>;
}

/** All kernels of a world: interfaces of pods are one space of names, whoever makes them. */
export interface Kernels {
  readonly all: readonly Kernel[];
  readonly pods: Set<string>;
  /** Pods that are there and answer no packet. */
  readonly deaf: Set<string>;
  /** Told after every change of what is built. */
  onChange: (kernel: Kernel, id: string) => void;
  /** Told when one process does two things with one connection at the same time. */
  onOverlap: (kernel: Kernel, id: string) => void;
}

const buildMs = { least: 2, most: 30 };

export function linkName({ netnsUrl, interfaceName }: KernelPort): string {
  return `${netnsUrl} ${interfaceName}`;
}

export function createKernel(node: string, address: string): Kernel {
  return { node, address, held: new Map(), owed: createOwed(), downLinks: new Set(), isFull: false, listeners: new Set() };
}

function createOwed(): OwedCloses {
  const kept = new Map<string, OwedClose>();
  return {
    note: (owed) => void kept.set(closeKey(owed), owed),
    settle: (owed) => void kept.delete(closeKey(owed)),
    all: () => [...kept.values()],
  };
}

/** The pod's namespace goes, and with it every interface in it. */
export function removePod(kernels: Kernels, netnsUrl: string): void {
  kernels.pods.delete(netnsUrl);
  for (const kernel of kernels.all) {
    for (const [id, { built }] of kernel.held) {
      if (built === undefined || !portsOf(built).some((port) => port.kind === "kernel" && port.netnsUrl === netnsUrl)) continue;
      for (const listener of [...kernel.listeners]) listener({ kind: "broken", id, reason: "its interface has vanished" });
    }
  }
}

/** The interface loses its link; the forwarder, if it lives, hears of it. */
export function takeLinkDown(kernels: Kernels, netnsUrl: string, interfaceName: string): void {
  for (const kernel of kernels.all) {
    for (const [id, { built }] of kernel.held) {
      if (built?.client.kind !== "kernel" || built.client.netnsUrl !== netnsUrl) continue;
      if (built.client.interfaceName !== interfaceName) continue;
      kernel.downLinks.add(linkName(built.client));
      for (const listener of [...kernel.listeners]) listener({ kind: "broken", id, reason: "its interface has no link" });
    }
  }
}

export function createModelDataPlane(kernel: Kernel, kernels: Kernels, world: World, process: SimProcess): DataPlane {
  const mine = (): boolean => process.alive;
  const busy = new Map<string, number>();
  async function alone<T>(id: string, work: () => Promise<T>): Promise<T> {
    const others = busy.get(id) ?? 0;
    if (others > 0) kernels.onOverlap(kernel, id);
    busy.set(id, others + 1);
    return work().finally(() => busy.set(id, (busy.get(id) ?? 1) - 1));
  }
  async function ensure(crossConnect: CrossConnect, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    refuse(kernel, kernels, crossConnect);
    const { id } = crossConnect;
    const before = kernel.held.get(id);
    kernel.held.set(id, { built: before?.built, intent: crossConnect });
    await new Promise((resolve) => setTimeout(resolve, world.chance.between(buildMs.least, buildMs.most)));
    if (!mine()) return;
    try {
      signal.throwIfAborted();
      refuse(kernel, kernels, crossConnect);
    } catch (error) {
      if (before === undefined) kernel.held.delete(id);
      else kernel.held.set(id, before);
      throw error;
    }
    kernel.held.set(id, { built: crossConnect, intent: crossConnect });
    for (const port of portsOf(crossConnect)) if (port.kind === "kernel") kernel.downLinks.delete(linkName(port));
    kernels.onChange(kernel, id);
  }

  async function remove(id: string): Promise<void> {
    if (!kernel.held.has(id)) return;
    await new Promise((resolve) => setTimeout(resolve, world.chance.between(buildMs.least, buildMs.most)));
    if (!mine()) return;
    kernel.held.delete(id);
    kernels.onChange(kernel, id);
  }

  return {
    name: "none",
    capabilities: async () => [{ name: "model", supported: "yes", detail: "for the simulation" }],
    mechanisms: async () => [MechanismType.KERNEL, MechanismType.VXLAN],
    underlayMtuBytes: async () => 1500,
    usedVnis: async (udpPort) => new Set([...kernel.held.values()].flatMap(({ intent }) => vnisOf(intent, udpPort))),
    ensure: (crossConnect, signal) => alone(crossConnect.id, () => ensure(crossConnect, signal)),
    remove: (id) => alone(id, () => remove(id)),
    list: () => [...kernel.held.values()].flatMap(({ built }) => built ?? []),
    counters: async () => undefined,
    objects: async () => objectsOf(kernel),
    recover: async (nowMs) => recover(kernel, kernels, nowMs),
    events: (signal) => events(kernel, signal),
    close: async () => {},
  };
}

/** What is whole and not expired is adopted, as it was last built; the rest goes. */
function recover(kernel: Kernel, kernels: Kernels, nowMs: number): Awaited<ReturnType<DataPlane["recover"]>> {
  const adopted: CrossConnect[] = [];
  const reclaimed: OwnedObject[] = [];
  const lost: CrossConnect[] = [];
  for (const [id, { built, intent }] of [...kernel.held]) {
    const isWhole =
      built !== undefined && portsOf(built).every((port) => port.kind !== "kernel" || kernels.pods.has(port.netnsUrl));
    if (isWhole && built.expiresAtMs > nowMs) {
      kernel.held.set(id, { built, intent: built });
      adopted.push(built);
    } else {
      kernel.held.delete(id);
      lost.push(built ?? intent);
      reclaimed.push({ kind: "connection", name: id, netnsUrl: "", connectionId: id });
      kernels.onChange(kernel, id);
    }
  }
  return { adopted, reclaimed, lost };
}

/** What the kernel would refuse. */
function refuse(kernel: Kernel, kernels: Kernels, crossConnect: CrossConnect): void {
  const { id, generation } = crossConnect;
  if (kernel.isFull && !kernel.held.has(id)) throw statusError(Code.RESOURCE_EXHAUSTED, `${kernel.node} has no memory for it`);
  const last = kernel.held.get(id)?.intent.generation ?? 0;
  if (generation < last) throw statusError(Code.ABORTED, `cross-connect ${id}: generation ${generation} is older than ${last}`);
  for (const port of portsOf(crossConnect)) {
    if (port.kind === "kernel") {
      if (!kernels.pods.has(port.netnsUrl))
        throw statusError(Code.NOT_FOUND, `network namespace ${port.netnsUrl} does not exist`);
      for (const other of kernels.all) {
        for (const [owner, { intent }] of other.held) {
          if (owner === id || !portsOf(intent).some((used) => used.kind === "kernel" && linkName(used) === linkName(port)))
            continue;
          throw statusError(Code.ALREADY_EXISTS, `interface ${linkName(port)} exists and is not ours`);
        }
      }
    }
    if (port.kind !== "vxlan") continue;
    for (const [owner, { intent }] of kernel.held) {
      if (owner !== id && vnisOf(intent, port.udpPort).includes(port.vni)) {
        throw statusError(Code.ALREADY_EXISTS, `VNI ${port.vni} is used by ${owner}`);
      }
    }
  }
}

export function portsOf({ client, endpoint }: CrossConnect): readonly [Port, Port] {
  return [client, endpoint];
}

function vnisOf(crossConnect: CrossConnect, udpPort: number): number[] {
  return portsOf(crossConnect).flatMap((port) => (port.kind === "vxlan" && port.udpPort === udpPort ? [port.vni] : []));
}

function objectsOf(kernel: Kernel): OwnedObject[] {
  return [...kernel.held].map(([id]) => ({ kind: "connection", name: id, netnsUrl: "", connectionId: id }));
}

async function* events(kernel: Kernel, signal: AbortSignal): AsyncIterable<DataPlaneEvent> {
  const pending: DataPlaneEvent[] = [];
  let wake = (): void => {};
  const listener = (event: DataPlaneEvent): void => {
    pending.push(event);
    wake();
  };
  kernel.listeners.add(listener);
  signal.addEventListener("abort", () => wake());
  try {
    while (!signal.aborted) {
      const event = pending.shift();
      if (event !== undefined) yield event;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    kernel.listeners.delete(listener);
  }
}

/**
 * Whether a packet from this interface would come to an endpoint's pod and back: every hop is built and fits the next one.
 * @param interfaceName  undefined = any that has a path
 */
export function pathFrom(
  kernels: Kernels,
  netnsUrl: string,
  interfaceName: string | undefined,
  isCut: (one: string, other: string) => boolean,
): KernelPort | undefined {
  for (const kernel of kernels.all) {
    for (const { built } of kernel.held.values()) {
      if (built?.client.kind !== "kernel" || built.client.netnsUrl !== netnsUrl) continue;
      if (interfaceName !== undefined && built.client.interfaceName !== interfaceName) continue;
      const end = follow(kernels, kernel, built, isCut);
      if (end !== undefined) return end;
    }
  }
  return undefined;
}

/** Every client's side of a path that packets pass, with the end they come to. */
export function* livePaths(
  kernels: Kernels,
  isCut: (one: string, other: string) => boolean,
): Iterable<{ readonly client: KernelPort; readonly end: KernelPort; readonly built: CrossConnect }> {
  for (const kernel of kernels.all) {
    for (const { built } of kernel.held.values()) {
      if (built?.client.kind !== "kernel") continue;
      const end = follow(kernels, kernel, built, isCut);
      if (end !== undefined) yield { client: built.client, end, built };
    }
  }
}

function follow(
  kernels: Kernels,
  kernel: Kernel,
  built: CrossConnect,
  isCut: (one: string, other: string) => boolean,
): KernelPort | undefined {
  const { client, endpoint } = built;
  const alive = (port: Port, where: Kernel): boolean =>
    port.kind !== "kernel" || (kernels.pods.has(port.netnsUrl) && !where.downLinks.has(linkName(port)));
  if (!alive(client, kernel)) return undefined;
  const answers = (port: KernelPort): boolean => !kernels.deaf.has(port.netnsUrl);
  if (endpoint.kind === "kernel") return alive(endpoint, kernel) && answers(endpoint) ? endpoint : undefined;
  if (endpoint.kind !== "vxlan") return undefined;
  const far = kernels.all.find(({ address }) => address === endpoint.remoteAddress);
  if (far === undefined || isCut(kernel.node, far.node)) return undefined;
  for (const { built: other } of far.held.values()) {
    if (other?.client.kind !== "vxlan" || other.client.vni !== endpoint.vni) continue;
    if (other.client.remoteAddress !== kernel.address || other.endpoint.kind !== "kernel") continue;
    return alive(other.endpoint, far) && answers(other.endpoint) ? other.endpoint : undefined;
  }
  return undefined;
}
