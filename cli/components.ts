/** The parts of a mesh that `weft` can be: each command runs the component's own main in this process. */
export interface ComponentMain {
  run(invocation: {
    readonly argv: readonly string[];
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly signal: AbortSignal;
  }): Promise<number>;
}

export interface Component {
  readonly summary: string;
  readonly load: () => Promise<ComponentMain>;
}

export const components: ReadonlyMap<string, Component> = new Map([
  [
    "ca",
    {
      summary: "the built-in certificate authority; `weft ca token` lets a component in",
      load: () => import("../apps/ca/main.js"),
    },
  ],
  [
    "spiffe",
    {
      summary: "`weft spiffe serve`: a SPIFFE Workload API for tests and small labs",
      load: () => import("../apps/spiffe/main.js"),
    },
  ],
  ["registry", { summary: "the registry of services and endpoints", load: () => import("../registry/main.js") }],
  ["nsmgr", { summary: "the node manager: finds endpoints and forwarders for requests", load: () => import("../nsmgr/main.js") }],
  ["forwarder", { summary: "builds connections with the kernel of its node", load: () => import("../forwarder/main.js") }],
  ["node", { summary: "node manager and forwarder in one process", load: () => import("../node/main.js") }],
  [
    "endpoint",
    { summary: "an endpoint that answers ping (ICMP responder)", load: () => import("../apps/icmp-responder/main.js") },
  ],
  ["client", { summary: "asks for the services in NSM_NETWORK_SERVICES", load: () => import("../apps/client/main.js") }],
  [
    "firewall",
    { summary: "a passthrough endpoint that filters by rules from a file", load: () => import("../apps/firewall/main.js") },
  ],
  [
    "egress-gateway",
    { summary: "an endpoint that leads out of the mesh, with NAT", load: () => import("../apps/egress-gateway/main.js") },
  ],
  [
    "node-agent",
    {
      summary: "connects the pods of a Kubernetes node, and tells what pods have",
      load: () => import("../apps/node-agent/main.js"),
    },
  ],
  [
    "webhook",
    { summary: "the admission webhook of Kubernetes: clients for pods by annotation", load: () => import("../webhook/main.js") },
  ],
  ["ipam", { summary: "lends prefixes to the endpoints of one network", load: () => import("../apps/ipam/main.js") }],
]);
