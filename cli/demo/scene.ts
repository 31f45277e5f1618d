/** Who plays in the demo: services, pods, ports, addresses (data only). */
import { join } from "node:path";
import type { PodRequest } from "../mesh/control.js";
import { runFolder } from "../mesh/plan.js";

/** A service of two functions in a row: whoever asks gets the firewall, and what the firewall asks gets the responder. */
export const chainService = {
  name: "guarded-web",
  payload: "ETHERNET",
  matches: [
    { source_selector: { app: "firewall" }, routes: [{ destination_selector: { app: "responder" } }] },
    { source_selector: {}, routes: [{ destination_selector: { app: "firewall" } }] },
  ],
};
/** A service whose endpoint is on the node of its client. */
export const localService = { name: "hello", payload: "ETHERNET", matches: [] };

/** A service whose packets nobody between the nodes can read. */
export const secureService = { name: "vault", payload: "IP", matches: [] };

export const permittedPort = 8080;
export const deniedPort = 9090;
/** Throughput is measured here. */
export const bulkPort = 5201;

export const denyingRule = "everything-else";
export const rulesFile = join(runFolder, "demo-firewall.yaml");
/** What the firewall lets through; tried from top to bottom. */
export const rules = `- { name: ping, action: permit, proto: icmp }
- { name: ping-v6, action: permit, proto: icmpv6 }
- { name: web, action: permit, proto: tcp, dstport: ${permittedPort} }
- { name: bulk, action: permit, proto: tcp, dstport: ${bulkPort} }
- { name: ${denyingRule}, action: deny }
`;

const chainPools = "[172.16.100.0/24],[fd57:6566:100::/112]";
const securePools = "[172.16.150.0/24],[fd57:6566:150::/112]";
const localPools = "[172.16.200.0/24],[fd57:6566:200::/112]";

/** The chain crosses the nodes twice: client on 1, firewall on 2, responder on 1; its stand-in is on 2. */
export const pods = {
  responder: endpointPod("responder", "node-1", chainService.name, chainPools, "app:responder"),
  standIn: endpointPod("standby", "node-2", chainService.name, chainPools, "app:responder"),
  firewall: {
    name: "firewall",
    node: "node-2",
    role: `firewall of ${chainService.name}`,
    args: ["firewall"],
    env: {
      NSM_SERVICE_NAMES: chainService.name,
      NSM_SERVICE_NAME: chainService.name,
      NSM_LABELS: "app:firewall",
      NSM_REGISTER_SERVICE: "false",
      NSM_ACL_CONFIG_PATH: rulesFile,
    },
    detach: true,
  },
  client: clientPod("client", "node-1", `kernel://${chainService.name}/mesh-0`),
  secureResponder: endpointPod("keeper", "node-2", secureService.name, securePools, "app:keeper"),
  secureClient: clientPod("agent", "node-1", `kernel://${secureService.name}/mesh-0`),
  localResponder: endpointPod("greeter", "node-2", localService.name, localPools, "app:greeter"),
  localClient: clientPod("guest", "node-2", `kernel://${localService.name}/mesh-0`),
} satisfies Record<string, PodRequest>;

function endpointPod(name: string, node: string, service: string, pools: string, labels: string): PodRequest {
  return {
    name,
    node,
    role: `endpoint of ${service}`,
    args: ["endpoint"],
    env: { NSM_SERVICE_NAMES: service, NSM_CIDR_PREFIX: pools, NSM_LABELS: labels, NSM_REGISTER_SERVICE: "false" },
    detach: true,
  };
}

function clientPod(name: string, node: string, url: string): PodRequest {
  return { name, node, role: `client of ${url}`, args: ["client"], env: { NSM_NETWORK_SERVICES: url }, detach: true };
}
