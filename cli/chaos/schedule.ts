/** Which faults a seed stands for: the same seed and topology give the same list, on every machine (pure). */
import { type Chance, createChance } from "./random.js";
import { hasRings, needsCore, type Topology } from "./topology.js";

export type Fault =
  /** SIGKILL of processes at the same moment; their supervisor starts them again. */
  | { readonly kind: "kill"; readonly targets: readonly string[] }
  /** SIGTERM of a component or of an endpoint that stays in its pod, as in an upgrade; it is started again. */
  | { readonly kind: "restart"; readonly targets: readonly string[] }
  /** SIGTERM of endpoints that have their connections moved before they end; they are started again. */
  | { readonly kind: "retire"; readonly targets: readonly string[] }
  /** `weft drain endpoint`, then the pod goes; a new one of the name comes. */
  | { readonly kind: "drain"; readonly targets: readonly string[] }
  /** A second forwarder comes, `weft drain forwarder` of the first, which is restarted; then the same back. */
  | { readonly kind: "drain-forwarder"; readonly targets: readonly string[] }
  /** `weft drain node`, restart of its manager and its forwarder, and the node takes part again. */
  | { readonly kind: "drain-node"; readonly targets: readonly string[] }
  /** SIGTERM of all components one after the other, each when the one before serves again: a rolling upgrade. */
  | { readonly kind: "roll"; readonly targets: readonly string[] }
  /** SIGSTOP, and SIGCONT after a while. */
  | { readonly kind: "freeze"; readonly targets: readonly string[]; readonly holdMs: number }
  /** An endpoint's process and network namespace go at once; a new pod of the name comes back later. */
  | { readonly kind: "pod-gone"; readonly targets: readonly string[]; readonly holdMs: number }
  /** A node's processes, endpoints and cable go at once, and come back later. */
  | { readonly kind: "node-down"; readonly targets: readonly string[]; readonly holdMs: number }
  /** The interface of one connection goes down. */
  | { readonly kind: "interface-down"; readonly targets: readonly string[] }
  /** A node's cable is out. */
  | { readonly kind: "link-down"; readonly targets: readonly string[]; readonly holdMs: number }
  /** Two nodes do not hear each other; the registry hears both. */
  | { readonly kind: "partition"; readonly targets: readonly string[]; readonly holdMs: number }
  /** The TCP connections of a node's control plane go silent without an end; packets of connections pass. */
  | { readonly kind: "half-open"; readonly targets: readonly string[]; readonly holdMs: number }
  /** The wall clock of processes jumps. */
  | { readonly kind: "clock"; readonly targets: readonly string[]; readonly offsetMs: number; readonly holdMs: number }
  /** The file system with the state of components is full; they are killed meanwhile. */
  | { readonly kind: "disk-full"; readonly targets: readonly string[]; readonly holdMs: number }
  /** The registry works a twentieth of the time. */
  | { readonly kind: "slow"; readonly targets: readonly string[]; readonly holdMs: number }
  /** A node's cable is bad: see shaper.ts. */
  | { readonly kind: "bad-cable"; readonly targets: readonly string[]; readonly impairment: Impairment; readonly holdMs: number }
  /** Everything is killed at once: control plane, endpoints, clients. */
  | { readonly kind: "everything"; readonly targets: readonly string[] };

export interface Impairment {
  /** Shares of frames, 0 … 1. */
  readonly loss: number;
  readonly corrupt: number;
  readonly reorder: number;
  readonly delayMs: number;
}

export interface ScheduleOptions {
  readonly seed: number;
  readonly count: number;
  /** Only these; undefined = all. */
  readonly kinds?: readonly string[] | undefined;
}

export function schedule(topology: Topology, { seed, count, kinds }: ScheduleOptions): Fault[] {
  const chance = createChance(seed);
  const makers = Object.entries(makersOf(topology, chance)).filter(([kind]) => kinds === undefined || kinds.includes(kind));
  const faults: Fault[] = [];
  // every kind once before any comes again
  while (faults.length < count && makers.length > 0) for (const [, make] of chance.shuffle(makers)) faults.push(make());
  return faults.slice(0, count);
}

/** Names of all kinds, for the help and for checks of what the user asks for. */
export function faultKinds(topology: Topology): string[] {
  return Object.keys(makersOf(topology, createChance(0)));
}

function makersOf(topology: Topology, chance: Chance): Record<string, () => Fault> {
  const indexes = Array.from({ length: topology.nodes }, (_, index) => index + 1);
  const managers = indexes.map((index) => `nsmgr-${index}`);
  const forwarders = indexes.map((index) => `forwarder-${index}`);
  const components = ["registry", ...managers, ...forwarders];
  const endpoints = topology.endpoints.map(({ pod }) => pod);
  const clients = topology.clients.map(({ pod }) => pod);
  const withInterfaces = topology.clients.filter((client) => !hasRings(client));
  const processes = [...components, ...endpoints, ...clients];
  // those whose service has another one; rings end with their process, so nothing can be moved away from them without loss
  const ringed = new Set(topology.endpoints.filter(hasRings).map(({ pod }) => pod));
  const rings = needsCore(topology);
  const replaceable = topology.endpoints.filter(({ pod, service }) =>
    topology.endpoints.some((other) => other.service === service && other.pod !== pod),
  );
  const leaving = new Set(topology.endpoints.filter(({ leaves }) => leaves === true).map(({ pod }) => pod));
  const movable = replaceable.map(({ pod }) => pod).filter((pod) => !ringed.has(pod));
  const retirable = replaceable.map(({ pod }) => pod).filter((pod) => leaving.has(pod));
  const one = (from: readonly string[]): string[] => [chance.pick(from)];
  const hold = (firstMs: number, lastMs: number): number => chance.between(firstMs / 100, lastMs / 100) * 100;
  const ofNodes = makersBetweenNodes(topology, chance, { one, hold });
  return {
    kill: () => ({ kind: "kill", targets: one(components) }),
    "kill-workload": () => ({ kind: "kill", targets: one([...endpoints, ...clients]) }),
    "kill-two": () => ({ kind: "kill", targets: chance.shuffle(processes).slice(0, 2).sort() }),
    restart: () => ({
      kind: "restart",
      targets: one([...components, ...endpoints.filter((pod) => !leaving.has(pod) && !ringed.has(pod))]),
    }),
    ...(retirable.length === 0 ? {} : { retire: (): Fault => ({ kind: "retire", targets: one(retirable) }) }),
    ...(movable.length === 0 ? {} : { drain: (): Fault => ({ kind: "drain", targets: one(movable) }) }),
    ...(rings ? {} : { "drain-forwarder": (): Fault => ({ kind: "drain-forwarder", targets: one(forwarders) }) }),
    roll: () => ({ kind: "roll", targets: chance.shuffle(components) }),
    freeze: () => ({ kind: "freeze", targets: one(processes), holdMs: hold(300, 5_000) }),
    "pod-gone": () => ({ kind: "pod-gone", targets: one(replaceable.map(({ pod }) => pod)), holdMs: hold(1_000, 4_000) }),
    ...(withInterfaces.length === 0
      ? {}
      : {
          "interface-down": (): Fault => {
            const client = chance.pick(withInterfaces);
            return {
              kind: "interface-down",
              targets: [`${client.pod}/${client.service.slice(0, 10)}-${chance.between(0, client.connections - 1)}`],
            };
          },
        }),
    clock: () => ({
      kind: "clock",
      targets: one(processes),
      offsetMs: chance.between(30, 300) * (chance.next() < 0.5 ? -1_000 : 1_000),
      holdMs: hold(1_000, 4_000),
    }),
    "disk-full": () => ({ kind: "disk-full", targets: one(forwarders), holdMs: hold(1_000, 3_000) }),
    slow: () => ({ kind: "slow", targets: ["registry"], holdMs: hold(2_000, 6_000) }),
    everything: () => ({ kind: "everything", targets: processes }),
    ...ofNodes,
  };
}

/** Faults that only a mesh of several nodes has. */
function makersBetweenNodes(
  topology: Topology,
  chance: Chance,
  { one, hold }: { one(from: readonly string[]): string[]; hold(firstMs: number, lastMs: number): number },
): Record<string, () => Fault> {
  if (topology.nodes < 2) return {};
  const nodes = Array.from({ length: topology.nodes }, (_, index) => `node-${index + 1}`);
  return {
    ...(needsCore(topology) ? {} : { "drain-node": (): Fault => ({ kind: "drain-node", targets: one(nodes) }) }),
    "link-down": () => ({ kind: "link-down", targets: one(nodes), holdMs: hold(500, 4_000) }),
    partition: () => ({ kind: "partition", targets: chance.shuffle(nodes).slice(0, 2).sort(), holdMs: hold(500, 5_000) }),
    "half-open": () => ({ kind: "half-open", targets: one(nodes), holdMs: hold(2_000, 8_000) }),
    ...(topology.nodes < 3
      ? {}
      : { "node-down": (): Fault => ({ kind: "node-down", targets: ["node-2"], holdMs: hold(6_000, 9_000) }) }),
    "bad-cable": () => ({
      kind: "bad-cable",
      targets: one(nodes),
      impairment: impairment(chance),
      holdMs: hold(2_000, 6_000),
    }),
  };
}

function impairment(chance: Chance): Impairment {
  const share = (most: number): number => (chance.next() < 0.5 ? 0 : chance.between(1, most) / 100);
  return { loss: share(20), corrupt: share(5), reorder: share(20), delayMs: chance.between(0, 40) };
}
