/**
 * The shape of a local mesh (pure): names of its namespaces, addresses of its underlay, sockets of its processes.
 *
 *   weft-underlay   one bridge that joins the nodes, and the registry (198.19.255.254)
 *   weft-node-N     one nsmgr and one forwarder (198.18.x.y, fd57:6566:74::N)
 *   weft-pod-NAME   one workload; the mesh gives it its interfaces
 */
import { join } from "node:path";
import { Code, statusError } from "../../sdk/status.js";

/** Everything a running mesh keeps: state file, sockets, logs, ledgers. Gone with the machine's restart, as namespaces are. */
export const runFolder = "/run/weft";
export const stateFile = join(runFolder, "mesh.json");
export const controlSocket = join(runFolder, "control.sock");
export const logFolder = join(runFolder, "log");

/** Every namespace of ours begins so; nothing else may. */
export const netnsPrefix = "weft-";
export const underlayNetns = `${netnsPrefix}underlay`;
export const bridgeName = "weft-underlay";
/** More nodes than anybody runs on one machine: each costs two processes of some 60 MB. */
export const maxNodes = 64;

/** RFC 2544 benchmarking network: never routed, so it cannot clash with a network the machine uses. */
export const underlayPrefix4 = "198.18.0.0/15";
/** A unique local prefix (RFC 4193) with the letters "Weft" in it. */
export const underlayPrefix6 = "fd57:6566:74::/64";

export interface RegistryPlan {
  readonly netns: string;
  readonly address4: string;
  readonly address6: string;
  readonly socketUrl: string;
  readonly tcpUrl: string;
}
export interface NodePlan {
  readonly index: number;
  readonly name: string;
  readonly netns: string;
  readonly address4: string;
  readonly address6: string;
  readonly nsmgr: ProcessPlan;
  readonly forwarder: ProcessPlan;
}
export interface ProcessPlan {
  readonly name: string;
  /** Unix socket that every process of this machine can reach. */
  readonly socketUrl: string;
}

export const registryPlan: RegistryPlan = {
  netns: underlayNetns,
  address4: "198.19.255.254",
  address6: "fd57:6566:74::ffff",
  socketUrl: `unix://${join(runFolder, "registry.sock")}`,
  tcpUrl: "tcp://198.19.255.254:5002",
};

/** @param index  1 … maxNodes */
export function nodePlan(index: number): NodePlan {
  const name = `node-${index}`;
  const socket = (file: string): string => `unix://${join(runFolder, name, file)}`;
  return {
    index,
    name,
    netns: `${netnsPrefix}${name}`,
    address4: `198.18.${index >> 8}.${index & 255}`,
    address6: `fd57:6566:74::${index.toString(16)}`,
    nsmgr: { name: `nsmgr-${index}`, socketUrl: socket("nsm.io.sock") },
    forwarder: { name: `forwarder-${index}`, socketUrl: socket("forwarder.sock") },
  };
}

/** @throws INVALID_ARGUMENT a name that cannot be a file or a path segment */
export function podNetns(name: string): string {
  if (!/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(name)) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `pod name "${name}": use lower-case letters, digits, - and . (at most 63, as Kubernetes does)`,
    );
  }
  return `${netnsPrefix}pod-${name}`;
}

/** Where a pod's own process listens. */
export function podSocketUrl(name: string): string {
  return `unix://${join(runFolder, "pods", `${name}.sock`)}`;
}

export function logFileOf(processName: string): string {
  return join(logFolder, `${processName}.log`);
}
