/** weft connect: a pod of the local mesh that asks for a service and holds the connection. */
import { parseDurationMs } from "../../sdk/config/duration.js";
import { parseServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { Code, statusError } from "../../sdk/status.js";
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
  /** Go's syntax; "0" = wait as long as it takes. */
  readonly timeout: string;
}

export async function connect(urlOrService: string, options: ConnectOptions, context: CliContext): Promise<number> {
  const mesh = requireMesh();
  const url = urlOrService.includes("://") ? urlOrService : `kernel://${urlOrService}`;
  parseServiceUrl(url); // a wrong one is refused here, with the place of the mistake
  const timeoutMs = parseTimeout(options.timeout);
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  const spec = {
    name: options.pod,
    node: options.node,
    role: `client of ${url}`,
    args: ["client"],
    env: { NSM_NETWORK_SERVICES: url },
    detach: options.detach === true,
    timeoutMs,
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

function parseTimeout(text: string): number {
  let timeoutMs: number;
  try {
    timeoutMs = parseDurationMs(text);
  } catch (error) {
    throw statusError(Code.INVALID_ARGUMENT, `--timeout ${(error as Error).message}`, error);
  }
  if (timeoutMs < 0) throw statusError(Code.INVALID_ARGUMENT, `--timeout ${text} is in the past; write for example 30s`);
  return timeoutMs === 0 ? Number.POSITIVE_INFINITY : timeoutMs;
}

/** A client's name in the path may carry a suffix that makes it unique. */
export function isPodsOwn(name: string, pod: string): boolean {
  return name === pod || name.startsWith(`${pod}-`);
}
