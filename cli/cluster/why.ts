/** weft cluster why: for the connections of a pod, hop by hop, what was considered and which rule chose or refused it. */
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import { connections, type KubernetesObject, pathOf } from "../../sdk/kubernetes/resource.js";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { type HopTold, renderHop } from "../view/render-hop.js";
import { type Agent, agentOf, agentsOf } from "./agents.js";
import { execThrough } from "./exec.js";
import { type ClusterOptions, defaultNamespace, withCluster } from "./open.js";

interface ConnectionObject extends KubernetesObject {
  readonly spec: { readonly pod: string; readonly networkService: string };
  readonly status?: { readonly id?: string; readonly state?: string; readonly message?: string };
}

type Hop = HopTold & { readonly id: string };
interface Told {
  readonly connection: string;
  readonly client: string;
  readonly service: string;
  readonly endpoint: string;
  readonly hops: readonly Hop[];
}

/** @param wanted  POD or NAMESPACE/POD */
export function clusterWhy(
  wanted: string,
  options: ClusterOptions & { readonly json?: boolean; readonly service?: string },
  context: CliContext,
): Promise<number> {
  const [pod = "", namespace = "default"] = wanted.split("/").reverse();
  return withCluster(options, context, async (api) => {
    const own = await connectionsOf(api, namespace, pod, options.service);
    const agents = await agentsOf(api, options.namespace ?? defaultNamespace, await execThrough(options, context));
    const agent = await agentOf(api, agents, namespace, pod);
    const all: object[] = [];
    for (const { spec, status } of own) {
      const { id = "", state = "not seen yet", message = "" } = status ?? {};
      const told = id === "" ? undefined : await tell(agent, agents, id);
      all.push(told ?? { service: spec.networkService, state, message });
      if (options.json !== true) context.out.write(told === undefined ? waiting(pod, spec, state, message) : render(told, state));
    }
    if (options.json === true) context.out.write(`${JSON.stringify({ connections: all }, null, 2)}\n`);
    return own.every(({ status }) => status?.state === "Connected") ? 0 : 1;
  });
}

async function connectionsOf(api: KubernetesApi, namespace: string, pod: string, service?: string): Promise<ConnectionObject[]> {
  const { items } = await api.call<{ items: ConnectionObject[] }>({ path: pathOf(connections, { namespace }) });
  const own = items.filter(({ spec }) => spec.pod === pod && (service === undefined || spec.networkService === service));
  if (own.length > 0) return own;
  const what = service === undefined ? "asks for no network service" : `does not ask for ${service}`;
  const remedy = "annotate it (networkservicemesh.io), or name its namespace as NAMESPACE/POD";
  throw statusError(Code.NOT_FOUND, `pod ${namespace}/${pod} ${what}, or no agent has seen it: ${remedy}`);
}

/** A forwarder answers on its own node only, so that the agents of the nodes on the way are asked for theirs. */
async function tell(agent: Agent, agents: readonly Agent[], id: string): Promise<Told> {
  const told = await ask(agent, id);
  const hops: Hop[] = [];
  for (const hop of told.hops) {
    const there = agents.find(({ node }) => node !== agent.node && hop.name === `forwarder-${node}`);
    const known = hop.decisions.length > 0 || there === undefined;
    const seen = known ? undefined : (await ask(there, hop.id)).hops.find((other) => other.id === hop.id);
    hops.push(seen ?? hop);
  }
  return { ...told, hops };
}

async function ask(agent: Agent, id: string): Promise<Told> {
  const { exitCode, out, err } = await agent.ask(["why", id, "--json"]);
  if (exitCode !== 0) throw statusError(Code.UNAVAILABLE, `the agent of ${agent.node} says: ${err.trim() || out.trim()}`);
  return JSON.parse(out) as Told;
}

function render({ client, service, endpoint, connection, hops }: Told, state: string): string {
  const head = `${client} asked for ${service} and is connected to ${endpoint} (${state}, id ${connection})\n\n`;
  return `${head}${hops.map(renderHop).join("")}\n`;
}

function waiting(pod: string, { networkService }: ConnectionObject["spec"], state: string, message: string): string {
  return `${pod} asked for ${networkService} and has no connection (${state})${message === "" ? "" : `: ${message}`}\n\n`;
}
