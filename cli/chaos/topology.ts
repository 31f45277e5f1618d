/** What the chaos suite runs against: services, endpoints and clients on the nodes of a local mesh (data, pure). */
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { Code, statusError } from "../../sdk/status.js";
import { maxNodes } from "../mesh/plan.js";

export interface Topology {
  readonly nodes: number;
  readonly services: readonly { readonly name: string; readonly payload: "ETHERNET" | "IP" }[];
  readonly endpoints: readonly EndpointPod[];
  readonly clients: readonly ClientPod[];
}
export interface EndpointPod {
  readonly pod: string;
  readonly node: string;
  readonly service: string;
  /** Starts when all clients are connected: nobody leads there before the first fault. */
  readonly standby?: boolean;
  /** Leaves the registry at its end, after its connections have been moved. */
  readonly leaves?: boolean;
  /** What the pod has: an interface (default), or rings, which end with its process. */
  readonly mechanism?: PodMechanism;
}
export interface ClientPod {
  readonly pod: string;
  readonly node: string;
  readonly service: string;
  readonly connections: number;
  /** With "memif" every endpoint of the service has it too. */
  readonly mechanism?: PodMechanism;
}
export type PodMechanism = "kernel" | "memif";

export function hasRings({ mechanism }: Pick<EndpointPod | ClientPod, "mechanism">): boolean {
  return mechanism === "memif";
}

/** Whether the packet core is needed. */
export function needsCore({ endpoints, clients }: Topology): boolean {
  return [...endpoints, ...clients].some(hasRings);
}

/**
 * Two services that cross the nodes, one in each direction, one that stays at home where it can, and one that is encrypted
 * between the nodes; each has a second endpoint to go to.
 * @param connections  how many in all, at least 5
 */
export function defaultTopology(nodes: number, connections: number, encrypted: boolean): Topology {
  const last = `node-${nodes}`;
  const second = `node-${Math.min(2, nodes)}`;
  const vault = encrypted ? Math.min(4, Math.max(1, Math.floor(connections / 12))) : 0;
  const quarter = Math.floor((connections - vault) / 4);
  const rest = connections - vault - 3 * quarter;
  const ethernet = ["east", "west", "home"].map((name) => ({ name, payload: "ETHERNET" as const }));
  return {
    nodes,
    services: [...ethernet, ...(encrypted ? [{ name: "vault", payload: "IP" as const }] : [])],
    endpoints: [
      { pod: "east-a", node: second, service: "east" },
      { pod: "east-b", node: last, service: "east", leaves: true },
      { pod: "west-a", node: "node-1", service: "west" },
      { pod: "west-b", node: "node-1", service: "west", leaves: true },
      { pod: "home-a", node: "node-1", service: "home" },
      { pod: "home-b", node: last, service: "home", leaves: true },
      ...(encrypted ? [{ pod: "vault-a", node: second, service: "vault" }] : []),
    ],
    clients: [
      { pod: "going-east", node: "node-1", service: "east", connections: quarter },
      { pod: "going-west", node: last, service: "west", connections: quarter },
      { pod: "at-home", node: "node-1", service: "home", connections: quarter },
      { pod: "visitor", node: last, service: "home", connections: rest },
      ...(encrypted ? [{ pod: "banker", node: "node-1", service: "vault", connections: vault }] : []),
    ],
  };
}

/**
 * A topology of the user's own, as YAML with the fields of `Topology`.
 * @throws INVALID_ARGUMENT with the place of the first mistake
 */
export function readTopology(path: string): Topology {
  const given = parse(readFileSync(path, "utf8")) as unknown;
  const root = record(given, path);
  const nodes = count(root["nodes"], `${path}: nodes`, maxNodes);
  const nodeOf = (value: unknown, where: string): string => {
    const node = text(value, where);
    const number = Number(/^node-(\d+)$/.exec(node)?.[1] ?? 0);
    if (number < 1 || number > nodes) throw wrong(`${where}: "${node}" is none of node-1 … node-${nodes}`);
    return node;
  };
  const services = list(root["services"], `${path}: services`).map((entry, index) => {
    const where = `${path}: services[${index}]`;
    const { name, payload = "ETHERNET" } = record(entry, where);
    if (payload !== "ETHERNET" && payload !== "IP") throw wrong(`${where}.payload is ETHERNET or IP`);
    return { name: text(name, `${where}.name`), payload: payload as "ETHERNET" | "IP" };
  });
  const podsOf = (key: "endpoints" | "clients") =>
    list(root[key], `${path}: ${key}`).map((entry, index) => {
      const where = `${path}: ${key}[${index}]`;
      const { pod, node, service, connections = 1, standby = false, leaves = false, mechanism = "kernel" } = record(entry, where);
      if (mechanism !== "kernel" && mechanism !== "memif") throw wrong(`${where}.mechanism is kernel or memif`);
      if (mechanism === "memif" && leaves === true)
        throw wrong(`${where}: rings end with their process, so it cannot have "leaves"`);
      if (typeof standby !== "boolean") throw wrong(`${where}.standby is true or false`);
      if (typeof leaves !== "boolean") throw wrong(`${where}.leaves is true or false`);
      const wanted = text(service, `${where}.service`);
      if (!services.some(({ name }) => name === wanted)) throw wrong(`${where}.service: "${wanted}" is not under services`);
      return {
        pod: text(pod, `${where}.pod`),
        node: nodeOf(node, `${where}.node`),
        service: wanted,
        connections: count(connections, `${where}.connections`, 200),
        standby,
        leaves,
        mechanism: mechanism as PodMechanism,
      };
    });
  const topology: Topology = { nodes, services, endpoints: podsOf("endpoints"), clients: podsOf("clients") };
  const without = topology.clients.filter(hasRings).map(({ service }) => service);
  const mixed = topology.endpoints.find((endpoint) => without.includes(endpoint.service) && !hasRings(endpoint));
  if (mixed !== undefined)
    throw wrong(
      `${path}: a client with mechanism memif asks for ${mixed.service}, so endpoint ${mixed.pod} needs mechanism memif too`,
    );
  return topology;
}

function record(value: unknown, where: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw wrong(`${where}: keys and values are expected here`);
}

function list(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value) && value.length > 0) return value;
  throw wrong(`${where}: a list with at least one entry is expected`);
}

function text(value: unknown, where: string): string {
  if (typeof value === "string" && /^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/.test(value)) return value;
  throw wrong(`${where}: lower-case letters, digits and -, at most 12 characters`);
}

function count(value: unknown, where: string, most: number): number {
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most) return value as number;
  throw wrong(`${where}: a number from 1 to ${most}`);
}

function wrong(details: string): Error {
  return statusError(Code.INVALID_ARGUMENT, details);
}
