/** weft connect: a pod of the local mesh that asks for a service and holds the connection. */
import { parseServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { createDialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { requireMesh } from "../mesh/state.js";
import { collectConnections } from "../view/collect.js";
import { dataPath, describeWire } from "../view/connections.js";
import { sourcesOf } from "../view/sources.js";
import { holdPod } from "./hold-pod.js";

export interface ConnectOptions {
  readonly node: string;
  readonly pod: string;
  readonly detach?: boolean;
}

export async function connect(urlOrService: string, options: ConnectOptions, context: CliContext): Promise<number> {
  const mesh = requireMesh();
  const url = urlOrService.includes("://") ? urlOrService : `kernel://${urlOrService}`;
  parseServiceUrl(url); // a wrong one is refused here, with the place of the mistake
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  const spec = {
    name: options.pod,
    node: options.node,
    role: `client of ${url}`,
    args: ["client"],
    env: { NSM_NETWORK_SERVICES: url },
    detach: options.detach === true,
  };
  try {
    return await holdPod(
      spec,
      async (signal) => {
        const { found } = await collectConnections(dialer, sourcesOf(mesh), signal);
        const own = found.find(({ client, state }) => isPodsOwn(client, options.pod) && state === "UP");
        if (own === undefined) return undefined;
        const addresses = `${own.clientAddresses.join(", ")} → ${own.endpointAddresses.join(", ")}`;
        const wires = dataPath(own).map((wire) => `    ${wire.from.name} → ${wire.to.name}: ${describeWire(wire)}\n`);
        return `${options.pod} is connected to ${own.endpoint}: ${own.clientInterface} ${addresses}, MTU ${own.mtuBytes}\n${wires.join("")}`.trimEnd();
      },
      context,
    );
  } finally {
    dialer.close();
  }
}

/** A client's name in the path may carry a suffix that makes it unique. */
export function isPodsOwn(name: string, pod: string): boolean {
  return name === pod || name.startsWith(`${pod}-`);
}
