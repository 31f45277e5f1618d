/** weft serve: an endpoint (ICMP responder) in a pod of the local mesh. */
import { createDialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { requireMesh } from "../mesh/state.js";
import { listEndpoints } from "../view/sources.js";
import { holdPod } from "./hold-pod.js";

export interface ServeOptions {
  readonly cidr: readonly string[];
  readonly labels: string;
  readonly node: string;
  readonly pod?: string;
  readonly detach?: boolean;
}

export async function serve(service: string, options: ServeOptions, context: CliContext): Promise<number> {
  const mesh = requireMesh();
  const pod = options.pod ?? service;
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  try {
    return await holdPod(
      {
        name: pod,
        node: options.node,
        role: `endpoint of ${service}`,
        args: ["endpoint"],
        env: {
          NSM_SERVICE_NAMES: service,
          // groups of prefixes: a client gets one address of each group
          NSM_CIDR_PREFIX: options.cidr.map((prefix) => `[${prefix}]`).join(","),
          NSM_LABELS: options.labels,
        },
        detach: options.detach === true,
      },
      async (signal) => {
        const endpoints = await listEndpoints(dialer, mesh.registry.socketUrl, signal);
        const own = endpoints.find(
          ({ name, network_service_names }) => network_service_names.includes(service) && name.startsWith(pod),
        );
        return own === undefined
          ? undefined
          : `${own.name} serves ${service} on ${options.node}, pools ${options.cidr.join(", ")}`;
      },
      context,
    );
  } finally {
    dialer.close();
  }
}
