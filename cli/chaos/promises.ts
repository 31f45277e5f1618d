/** What the mesh promises about each kind of fault: the figures of docs/resilience.md (pure). */
import type { Fault } from "./schedule.js";
import { hasRings, type Topology } from "./topology.js";

export interface Outcome {
  readonly lost: number;
  readonly losses: readonly { readonly stream: string; readonly lost: number; readonly outageMs: number }[];
  readonly wellAfterMs: number;
  /** How long the fault itself lasted. */
  readonly overAfterMs: number;
}

export interface Promised {
  readonly text: string;
  /** What is not as promised. */
  check(outcome: Outcome): readonly string[];
}

/** After the last component is back. */
const healTimeMs = 3_000;
/** A dead endpoint is left within so long: found by three probes, asked again, built. */
const moveTimeMs = 500;

/** All connections of a node that is gone are elsewhere within so long. */
const rehomeTimeMs = 2_000;

export function promiseOf(fault: Fault, topology: Topology): Promised {
  switch (fault.kind) {
    case "kill":
    case "restart":
    case "retire":
    case "drain":
    case "drain-forwarder":
    case "drain-node":
    case "roll":
    case "freeze":
    case "half-open":
    case "clock":
    case "disk-full":
    case "slow":
    case "everything":
      return {
        text: `no packet lost, well ${healTimeMs / 1000} s after all serve`,
        check: (outcome) => [...lossless(outcome, ringsOf(fault, topology)), ...inTime(outcome)],
      };
    case "pod-gone":
      return {
        text: `packets again within ${moveTimeMs} ms on every connection`,
        check: (outcome) => [
          ...outcome.losses
            .filter(({ outageMs }) => outageMs > moveTimeMs)
            .map(({ stream, outageMs }) => `${stream}: no packets for ${outageMs} ms`),
          ...inTime(outcome),
        ],
      };
    case "node-down":
      return nodeDownPromise(fault.targets, topology);
    case "interface-down":
      return {
        text: `only this connection loses, packets again within ${moveTimeMs} ms`,
        check: (outcome) => [
          ...elsewhere(outcome, (stream) => stream.startsWith(`${fault.targets[0]} `)),
          ...outages(outcome, moveTimeMs),
        ],
      };
    case "link-down":
    case "partition":
    case "bad-cable": {
      const crossing = clientsCrossing(topology);
      return {
        text: `connections inside a node lose nothing; the others are well ${healTimeMs / 1000} s after the fault`,
        check: (outcome) => [...elsewhere(outcome, (stream) => crossing.has(stream.split("/")[0] ?? "")), ...inTime(outcome)],
      };
    }
  }
}

/** Nobody can do more for a service whose only endpoint is on that node than to heal it when the node is back. */
function nodeDownPromise(nodes: readonly string[], { clients, endpoints }: Topology): Promised {
  const stranded = new Set(
    clients
      .filter(
        ({ node, service }) =>
          nodes.includes(node) || !endpoints.some((endpoint) => endpoint.service === service && !nodes.includes(endpoint.node)),
      )
      .map(({ pod }) => pod),
  );
  const waits = stranded.size > 0;
  const others = `connections that led there go elsewhere, packets again within ${rehomeTimeMs} ms`;
  return {
    text: waits ? `${others}; those with nowhere to go are well ${healTimeMs / 1000} s after the node serves again` : others,
    check: (outcome) => {
      const losses = outcome.losses.filter(({ stream }) => !stranded.has(stream.split("/")[0] ?? ""));
      return [...outages({ ...outcome, losses }, rehomeTimeMs), ...(waits ? inTime(outcome) : [])];
    },
  };
}

/** @param ended  clients whose rings ended with a process */
function lossless({ losses }: Outcome, ended: ReadonlySet<string>): string[] {
  const unexpected = losses.filter(({ stream }) => !ended.has(stream.split("/")[0] ?? ""));
  const lost = unexpected.reduce((sum, each) => sum + each.lost, 0);
  return lost === 0 ? [] : [`${lost} packets lost, on ${unexpected.length} streams, first ${unexpected[0]?.stream}`];
}

/** Rings are memory of the workload's process: who kills that, cuts what goes through them. */
function ringsOf({ kind, targets }: Fault, { clients, endpoints }: Topology): ReadonlySet<string> {
  if (kind !== "kill" && kind !== "restart" && kind !== "everything") return new Set();
  const services = new Set(
    endpoints.filter((endpoint) => hasRings(endpoint) && targets.includes(endpoint.pod)).map(({ service }) => service),
  );
  const cut = clients.filter((client) => services.has(client.service) || (hasRings(client) && targets.includes(client.pod)));
  return new Set(cut.map(({ pod }) => pod));
}

function inTime({ wellAfterMs }: Outcome): string[] {
  return wellAfterMs <= healTimeMs ? [] : [`well only ${wellAfterMs} ms after everything served`];
}

function outages({ losses }: Outcome, mostMs: number): string[] {
  return losses
    .filter(({ outageMs }) => outageMs > mostMs)
    .map(({ stream, outageMs }) => `${stream}: no packets for ${outageMs} ms`);
}

function elsewhere({ losses }: Outcome, allowed: (stream: string) => boolean): string[] {
  return losses
    .filter(({ stream }) => !allowed(stream))
    .map(({ stream, lost }) => `${stream}: ${lost} packets lost, though the fault is not on its way`);
}

/** Pods that may have a connection to another node. */
function clientsCrossing({ clients, endpoints }: Topology): ReadonlySet<string> {
  return new Set(
    clients
      .filter(({ node, service }) => endpoints.some((endpoint) => endpoint.service === service && endpoint.node !== node))
      .map(({ pod }) => pod),
  );
}
