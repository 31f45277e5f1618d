/**
 * The agents of a cluster, as those who may ask its managers and forwarders: a person with a kubeconfig has no identity in
 * the mesh, and needs none, because what the API server lets him run in an agent's pod is asked with the agent's.
 */
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import { type KubernetesObject, nodes, pathOf, pods } from "../../sdk/kubernetes/resource.js";
import { Code, statusError } from "../../sdk/status.js";
import type { ExecInPod, Ran } from "./exec.js";

export interface Agent {
  readonly node: string;
  /** Runs one of the questions of `weft` on the agent's node; it asks all managers, and this node's forwarder. */
  ask(question: readonly string[]): Promise<Ran>;
}

interface AgentPod extends KubernetesObject {
  readonly spec: { readonly nodeName?: string; readonly containers: readonly Container[] };
  readonly status: { readonly phase?: string; readonly hostIP?: string };
}
interface Container {
  readonly name: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
}

const partOf = (name: string) => ({ labelSelector: `app.kubernetes.io/part-of=weft,app.kubernetes.io/name=${name}` });

/** @throws NOT_FOUND when no agent runs: the release is elsewhere, or was installed without */
export async function agentsOf(api: KubernetesApi, namespace: string, exec: ExecInPod): Promise<readonly Agent[]> {
  const list = async (name: string): Promise<AgentPod[]> => {
    const { items } = await api.call<{ items: AgentPod[] }>({ path: pathOf(pods, { namespace }), query: partOf(name) });
    return items.filter(({ status }) => status.phase === "Running");
  };
  const found = await list("agent");
  if (found.length === 0) {
    const why = `no agent of Weft runs in namespace ${namespace}, and only agents may be asked`;
    throw statusError(Code.NOT_FOUND, `${why}; name the release's namespace with --namespace, or set agent.enabled=true`);
  }
  const managers = await list("nsmgr");
  const forwarders = await list("forwarder");
  const nodeOf = ({ spec }: AgentPod): string => spec.nodeName ?? "";
  found.sort((one, other) => nodeOf(one).localeCompare(nodeOf(other)));
  return found.map((pod) => {
    const node = nodeOf(pod);
    const named = managers.flatMap((manager) => {
      const { nodeName = "" } = manager.spec;
      const own = settingOf(manager, "NSM_LISTEN_ON").split(",");
      const local = own.find((url) => url.startsWith("unix:"));
      const far = own.find((url) => url.startsWith("tcp:"))?.replace("$(NODE_IP)", manager.status.hostIP ?? "");
      const url = nodeName === node ? local : far;
      return url === undefined ? [] : ["--nsmgr", `nsmgr-${nodeName}=${url}`];
    });
    const near = forwarders.find(({ spec }) => spec.nodeName === node);
    const socket = near === undefined ? "" : settingOf(near, "NSM_LISTEN_ON");
    const forwarder = socket === "" ? [] : ["--forwarder", `forwarder-${node}=${socket}`];
    const place = { namespace, pod: pod.metadata.name, container: "agent" };
    return {
      node,
      ask: (question) => exec(place, [...program, ...question, ...named, ...forwarder]),
    };
  });
}

/** Where the image has the questions; `node` is in PATH in all bases. */
const program = ["node", "/app/weft.mjs"];

function settingOf({ spec }: AgentPod, name: string): string {
  for (const { env = [] } of spec.containers) {
    const found = env.find((one) => one.name === name)?.value;
    if (found !== undefined) return found;
  }
  return "";
}

/** The agent of the node where a pod runs. @throws NOT_FOUND with what there is */
export async function agentOf(api: KubernetesApi, agents: readonly Agent[], namespace: string, pod: string): Promise<Agent> {
  const { spec } = await api.call<AgentPod>({ path: pathOf(pods, { namespace, name: pod }) });
  const agent = agents.find(({ node }) => node === spec.nodeName);
  if (agent !== undefined) return agent;
  const { items } = await api.call<{ items: KubernetesObject[] }>({ path: pathOf(nodes) });
  const bare = items.map(({ metadata }) => metadata.name).filter((name) => !agents.some(({ node }) => node === name));
  throw statusError(
    Code.NOT_FOUND,
    `no agent runs on ${spec.nodeName ?? "the pod's node"}; nodes without one: ${bare.join(", ")}`,
  );
}
