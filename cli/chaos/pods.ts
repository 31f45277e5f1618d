/** The topology as pods of the mesh and as streams of the prober (pure). */
import { generateInterfaceName } from "../../sdk/mechanisms/interface-name.js";
import type { PodSpec } from "../mesh/mesh.js";
import { netnsPrefix, podNetns } from "../mesh/plan.js";
import type { ProbePlan } from "./prober.js";
import { ringsVariable } from "./rings-settings.js";
import { type ClientPod, type EndpointPod, hasRings, type Topology } from "./topology.js";

export interface ProbeSettings {
  /** Pause between two liveness probes of the clients, and when they give up. */
  readonly livenessIntervalMs: number;
  readonly livenessTimeoutMs: number;
}

export const controlNames = [`${netnsPrefix}control-a`, `${netnsPrefix}control-b`] as const;
export const controlLink = "ctl0";
export const controlStream = "outside the mesh";

const ordinaryPerSecond = 20;
const fastPerSecond = 1000;

export function endpointPod(endpoint: EndpointPod, index: number): PodSpec {
  const { pod, node, service, leaves = false } = endpoint;
  const common = { name: pod, node, role: `endpoint of ${service}`, restart: true };
  if (hasRings(endpoint)) {
    const cidrs = `${poolOf(index).v4},${poolOf(index).v6}`;
    return {
      ...common,
      args: ["chaos-rings", "endpoint"],
      env: { [ringsVariable.service]: service, [ringsVariable.cidrs]: cidrs },
    };
  }
  return {
    ...common,
    args: ["endpoint"],
    env: {
      NSM_SERVICE_NAMES: service,
      NSM_CIDR_PREFIX: `[${poolOf(index).v4}],[${poolOf(index).v6}]`,
      NSM_LABELS: "app:chaos",
      NSM_REGISTER_SERVICE: "false",
      NSM_UNREGISTER_ITSELF: String(leaves),
    },
  };
}

/** Each endpoint has pools of its own, so that an address tells who gave it. */
export function poolOf(index: number): { readonly v4: string; readonly v6: string } {
  return { v4: `172.20.${index}.0/24`, v6: `fd57:6566:c0:${index.toString(16)}::/112` };
}

export function clientPod(client: ClientPod, settings: ProbeSettings): PodSpec {
  const common = { name: client.pod, node: client.node, role: `client of ${client.service}`, restart: true };
  if (hasRings(client)) {
    return {
      ...common,
      args: ["chaos-rings", "client"],
      env: {
        [ringsVariable.service]: client.service,
        [ringsVariable.connections]: String(client.connections),
        [ringsVariable.livenessInterval]: String(settings.livenessIntervalMs),
        [ringsVariable.livenessTimeout]: String(settings.livenessTimeoutMs),
      },
    };
  }
  return {
    ...common,
    args: ["client"],
    env: {
      NSM_NETWORK_SERVICES: interfacesOf(client)
        .map((name) => `kernel://${client.service}/${name}`)
        .join(","),
      // their Requests are counted in it
      NSM_LOG_LEVEL: "debug",
      NSM_LIVENESS_CHECK_INTERVAL: `${settings.livenessIntervalMs}ms`,
      NSM_LIVENESS_CHECK_TIMEOUT: `${settings.livenessTimeoutMs}ms`,
    },
  };
}

export function interfacesOf({ service, connections }: ClientPod): string[] {
  return Array.from({ length: connections }, (_, index) => `${service.slice(0, 10)}-${index}`);
}

/** Every connection in both families at 20 packets a second, one of them at 1,000, and the stream that no fault may touch. */
export function probePlan(topology: Topology): ProbePlan {
  const withInterfaces = topology.clients.filter((client) => !hasRings(client));
  const pods = withInterfaces.map((client, first) => ({
    netns: podNetns(client.pod),
    streams: interfacesOf(client).flatMap((interfaceName, index) =>
      ([4, 6] as const).map((family) => ({
        name: `${client.pod}/${interfaceName} IPv${family}`,
        interfaceName,
        // what it has while it moves (sdk/client/beside.ts)
        otherNames: [`${client.pod}-${index}`, `${client.pod}-${index}-b`].map((id) => generateInterfaceName("move", id)),
        family,
        perSecond: first === 0 && index === 0 && family === 4 ? fastPerSecond : ordinaryPerSecond,
      })),
    ),
  }));
  const control = {
    name: controlStream,
    interfaceName: controlLink,
    otherNames: [],
    family: 4 as const,
    perSecond: fastPerSecond / 10,
  };
  return { pods: [...pods, { netns: controlNames[0], streams: [control] }] };
}
