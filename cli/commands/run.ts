/** weft run: a program of one's own in a pod of the local mesh, with the variables that tell it where its mesh is. */
import { Code, statusError } from "../../sdk/status.js";
import { createDialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { requireMesh } from "../mesh/state.js";
import { collectConnections } from "../view/collect.js";
import { listEndpoints, sourcesOf } from "../view/sources.js";
import { isPodsOwn } from "./connect.js";
import { holdPod } from "./hold-pod.js";

export interface RunOptions {
  readonly node: string;
  readonly env?: readonly string[];
  readonly detach?: boolean;
}

/**
 * Ready when the mesh knows it: an endpoint whose name begins with the pod's, or a connection of its own that is up.
 * @throws INVALID_ARGUMENT an --env that is no NAME=VALUE
 */
export async function run(pod: string, command: readonly string[], options: RunOptions, context: CliContext): Promise<number> {
  const mesh = requireMesh();
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  const spec = {
    name: pod,
    node: options.node,
    role: command.join(" "),
    args: [],
    program: { command, folder: process.cwd() },
    env: Object.fromEntries((options.env ?? []).map(variable)),
    detach: options.detach === true,
  };
  try {
    return await holdPod(
      spec,
      async (signal) => {
        const endpoints = await listEndpoints(dialer, mesh.registry.socketUrl, signal);
        const endpoint = endpoints.find(({ name }) => name.startsWith(pod));
        if (endpoint !== undefined) {
          return `${endpoint.name} serves ${endpoint.network_service_names.join(", ")} on ${options.node}`;
        }
        const { found } = await collectConnections(dialer, sourcesOf(mesh), signal);
        const connection = found.find(({ client, state }) => isPodsOwn(client, pod) && state === "UP");
        if (connection === undefined) return undefined;
        return `${pod} is connected to ${connection.endpoint}: ${connection.clientInterface} ${connection.clientAddresses.join(", ")}`;
      },
      context,
    );
  } finally {
    dialer.close();
  }
}

function variable(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw statusError(Code.INVALID_ARGUMENT, `--env ${text}: write NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}
