/** Planned changes, as an operator makes them: none of them may cost a packet. */
import { Code, statusError } from "../../sdk/status.js";
import type { Stage } from "./stage.js";
import { strike } from "./strike.js";

/** As `weft drain` waits unless it is told otherwise. */
const drainWaitMs = 30_000;
/** Of one question for a drain that may leave something. */
const shortWaitMs = 500;

type Change = (stage: Stage, targets: readonly string[]) => Promise<void>;

/** By kind of fault. */
export const plannedChanges: Readonly<Record<"drain" | "drain-forwarder" | "drain-node" | "roll", Change>> = {
  drain: drainAndReplace,
  "drain-forwarder": exchangeForwarders,
  "drain-node": drainNodes,
  roll,
};

/** Endpoints: drained, taken down, and started anew. */
async function drainAndReplace(stage: Stage, pods: readonly string[]): Promise<void> {
  for (const pod of pods) {
    const at = stage.topology.endpoints.find((endpoint) => endpoint.pod === pod)?.node ?? "";
    await drained(stage, at, pod, 0);
    await stage.removePod(pod, { kill: false });
    stage.addEndpoint(pod);
    await stage.registered(pod);
    await ask(stage, at, pod, { undo: true, waitMs: 0 });
  }
}

/** Forwarders: a second one beside takes the connections, the first is restarted and gets them back. */
async function exchangeForwarders(stage: Stage, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const node = stage.mesh.state.nodes.find(({ forwarder }) => forwarder.name === name)?.name ?? "";
    const spare = await stage.mesh.addForwarder(node);
    try {
      await drained(stage, node, name, 0);
      await restart(stage, name);
      await ask(stage, node, name, { undo: true, waitMs: 0 });
      await drained(stage, node, spare.name, 0);
      // the next one has its name, and what drains does so until it is told otherwise
      await ask(stage, node, spare.name, { undo: true, waitMs: 0 });
    } finally {
      await spare.remove();
    }
  }
}

/** Nodes: their endpoints lead nobody any more who can go elsewhere, manager and forwarder are restarted, and all may come back. */
async function drainNodes(stage: Stage, nodes: readonly string[]): Promise<void> {
  for (const node of nodes) {
    const at = stage.mesh.state.nodes.find(({ name }) => name === node);
    if (at === undefined) continue;
    await drained(stage, node, "", mayStay(stage, node));
    await restart(stage, at.forwarder.name);
    await restart(stage, at.nsmgr.name);
    await ask(stage, node, "", { undo: true, waitMs: 0 });
  }
}

/** All components, one after the other. */
async function roll(stage: Stage, names: readonly string[]): Promise<void> {
  for (const name of names) await restart(stage, name);
}

async function restart(stage: Stage, name: string): Promise<void> {
  await strike(stage, [name], "SIGTERM");
  await stage.serves(name);
}

/** Connections to this node's endpoints that have no endpoint on another node to go to. */
function mayStay({ topology }: Stage, node: string): number {
  const { clients, endpoints } = topology;
  return clients
    .filter(({ service }) => !endpoints.some((endpoint) => endpoint.service === service && endpoint.node !== node))
    .reduce((sum, { connections }) => sum + connections, 0);
}

/**
 * @param name  of an endpoint or a forwarder; empty: all endpoints of the node
 * @throws UNAVAILABLE more stay than may
 */
async function drained(stage: Stage, node: string, name: string, most: number): Promise<void> {
  const endMs = performance.now() + drainWaitMs;
  for (;;) {
    const left = await ask(stage, node, name, { undo: false, waitMs: shortWaitMs });
    if (left <= most) return;
    if (performance.now() > endMs) {
      const what = name === "" ? node : name;
      throw statusError(Code.UNAVAILABLE, `${left - most} connections of ${what} found no other place in ${drainWaitMs} ms`);
    }
  }
}

/** @returns how many connections are left */
async function ask(
  { mesh, dialer, signal }: Stage,
  node: string,
  endpoint: string,
  { undo, waitMs }: { readonly undo: boolean; readonly waitMs: number },
): Promise<number> {
  const manager = mesh.state.nodes.find(({ name }) => name === node)?.nsmgr.socketUrl ?? "";
  const limit = AbortSignal.any([signal, AbortSignal.timeout(waitMs + 5_000)]);
  const answer = await dialer.inspect(manager).drain({ endpoint, undo, wait_ms: waitMs }, { signal: limit });
  return answer.connections_left;
}
