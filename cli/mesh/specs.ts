/** What each process of a local mesh is started with (pure). */
import { join } from "node:path";
import type { MeshOptions, PodSpec } from "./mesh.js";
import { type NodePlan, podNetns, podSocketUrl, registryPlan, runFolder } from "./plan.js";
import type { ProcessSpec } from "./processes.js";

/** With PROMETHEUS=true in the environment of `weft up`; a node's processes share its namespace. Upstream's port is the forwarder's. */
const metricsPort = { forwarder: ":8081", nsmgr: ":8082", registry: ":8083", spareForwarder: ":8084" };

type Started = Pick<MeshOptions, "self" | "stateRoot">;

export function registrySpec({ self, stateRoot = runFolder }: Started): ProcessSpec {
  return {
    name: "registry",
    netns: registryPlan.netns,
    node: "",
    command: [...self, "registry"],
    env: {
      WEFT_INSECURE: "true",
      NSM_NAME: "registry",
      NSM_LISTEN_ON: `${registryPlan.socketUrl},${registryPlan.tcpUrl}`,
      WEFT_STATE_DIR: join(stateRoot, "registry"),
      PROMETHEUS_LISTEN_ON: metricsPort.registry,
    },
    restart: true,
  };
}

export function nsmgrSpec(node: NodePlan, { self, stateRoot = runFolder }: Started): ProcessSpec {
  return {
    name: node.nsmgr.name,
    netns: node.netns,
    node: node.name,
    command: [...self, "nsmgr"],
    env: {
      WEFT_INSECURE: "true",
      NSM_NAME: node.nsmgr.name,
      NODE_NAME: node.name,
      NSM_LISTEN_ON: `${node.nsmgr.socketUrl},tcp://${node.address4}:5001`,
      NSM_REGISTRY_URL: registryPlan.tcpUrl,
      WEFT_STATE_DIR: join(stateRoot, node.name, "nsmgr"),
      PROMETHEUS_LISTEN_ON: metricsPort.nsmgr,
    },
    restart: true,
  };
}

export function forwarderSpec(node: NodePlan, { self, stateRoot = runFolder }: Started): ProcessSpec {
  return {
    name: node.forwarder.name,
    netns: node.netns,
    node: node.name,
    command: [...self, "forwarder"],
    env: {
      WEFT_INSECURE: "true",
      NSM_NAME: node.forwarder.name,
      NODE_NAME: node.name,
      NSM_LISTEN_ON: node.forwarder.socketUrl,
      NSM_CONNECT_TO: node.nsmgr.socketUrl,
      NSM_TUNNEL_IP: node.address4,
      WEFT_STATE_DIR: join(stateRoot, node.name, "forwarder"),
      PROMETHEUS_LISTEN_ON: metricsPort.forwarder,
    },
    restart: true,
  };
}

export function spareForwarderSpec(node: NodePlan, options: Started): ProcessSpec {
  const spec = forwarderSpec(node, options);
  const name = `${spec.name}-spare`;
  const env = {
    NSM_NAME: name,
    NSM_LISTEN_ON: `unix://${join(runFolder, node.name, "forwarder-spare.sock")}`,
    WEFT_STATE_DIR: join(options.stateRoot ?? runFolder, node.name, "forwarder-spare"),
    PROMETHEUS_LISTEN_ON: metricsPort.spareForwarder,
  };
  return { ...spec, name, env: { ...spec.env, ...env } };
}

export function podProcess(spec: PodSpec, node: NodePlan, { self, stateRoot = runFolder }: Started): ProcessSpec {
  return {
    name: spec.name,
    netns: podNetns(spec.name),
    node: spec.node,
    command: spec.program?.command ?? [...self, ...spec.args],
    ...(spec.program === undefined ? {} : { folder: spec.program.folder }),
    env: {
      WEFT_INSECURE: "true",
      NSM_NAME: spec.name,
      NODE_NAME: node.name,
      POD_NAME: spec.name,
      NSM_CONNECT_TO: node.nsmgr.socketUrl,
      NSM_LISTEN_ON: podSocketUrl(spec.name),
      WEFT_STATE_DIR: join(stateRoot, "pods", spec.name),
      ...spec.env,
    },
    restart: spec.restart ?? false,
  };
}
