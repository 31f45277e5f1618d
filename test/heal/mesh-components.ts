/** The components of a test mesh as processes: how each is told who it is and where it serves. */
import type { Dialer } from "../../sdk/transport/dial.js";
import { type ComponentProcess, componentProcess } from "./processes.js";
import { tunnelAddress } from "./underlay.js";

/** "fast": the packet core ends tunnels itself; "auto": the kernel does. */
export type MeshDataPlane = "none" | "kernel" | "auto" | "fast";

export function usesCore(dataplane: MeshDataPlane): boolean {
  return dataplane === "auto" || dataplane === "fast";
}

export interface MeshNode {
  readonly name: string;
  readonly url: string;
  readonly nsmgr: ComponentProcess;
  readonly forwarder: ComponentProcess;
  /** Of the forwarder. */
  readonly stateDir: string;
}

interface NodeParts {
  readonly index: number;
  readonly netns: string;
  readonly dataplane: MeshDataPlane;
  readonly folder: string;
  readonly registryUrl: string;
  readonly dialer: Dialer;
  readonly program: string | undefined;
  readonly joined: boolean;
  readonly tunnels: 4 | 6;
  readonly pathMtuInterval: string;
}

interface ForwarderParts {
  readonly name: string;
  readonly node: string;
  readonly managerUrl: string;
  readonly underlay: string;
  readonly pathMtuInterval: string;
  readonly dataplane: MeshDataPlane;
  readonly netns: string;
  readonly folder: string;
  readonly dialer: Dialer;
  readonly program?: string | undefined;
}

export function forwarderProcess({
  name,
  node,
  managerUrl,
  underlay,
  pathMtuInterval,
  dataplane,
  ...place
}: ForwarderParts): ComponentProcess {
  const { netns, folder, dialer, program } = place;
  return componentProcess({
    name,
    component: "forwarder",
    url: `unix://${folder}/${name}.sock`,
    env: {
      NSM_CONNECT_TO: managerUrl,
      NSM_TUNNEL_IP: dataplane !== "none" ? underlay : "127.0.0.1",
      WEFT_DATAPLANE: dataplane,
      WEFT_PATH_MTU_INTERVAL: pathMtuInterval,
      WEFT_STATE_DIR: `${folder}/${name}`,
      NODE_NAME: node,
    },
    netns,
    dialer,
    program,
  });
}

export async function nodeProcesses(parts: NodeParts): Promise<MeshNode> {
  const { index, netns, dataplane, folder, registryUrl, dialer, program, joined, tunnels, pathMtuInterval } = parts;
  const name = `node-${index + 1}`;
  const url = `unix://${folder}/${name}.sock`;
  const underlay = tunnelAddress(index, tunnels);
  const address = dataplane !== "none" ? `${tunnelAddress(index, 4)}:5001` : `127.0.0.1:${await freePort()}`;
  const forwarderName = `forwarder-${index + 1}`;
  const ofForwarder = {
    WEFT_FORWARDER_NAME: forwarderName,
    WEFT_FORWARDER_LISTEN_ON: `unix://${folder}/${forwarderName}.sock`,
    NSM_TUNNEL_IP: dataplane !== "none" ? underlay : "127.0.0.1",
    WEFT_DATAPLANE: dataplane,
    WEFT_STATE_DIR: `${folder}/${name}`,
  };
  const ofManager = { NSM_LISTEN_ON: `${url},tcp://${address}`, NSM_REGISTRY_URL: registryUrl, NODE_NAME: name };
  const nsmgr = componentProcess({
    name: `nsmgr-${index + 1}`,
    component: joined ? "node" : "nsmgr",
    url,
    env: { ...ofManager, ...(joined && ofForwarder) },
    netns,
    dialer,
    program,
  });
  if (joined) return { name, url, nsmgr, forwarder: nsmgr, stateDir: `${folder}/${name}` };
  const forwarder = forwarderProcess({
    name: forwarderName,
    node: name,
    managerUrl: url,
    underlay,
    pathMtuInterval,
    dataplane,
    netns,
    folder,
    dialer,
    program,
  });
  return { name, url, nsmgr, forwarder, stateDir: `${folder}/${forwarderName}` };
}

/** A port nobody listens on just now. */
async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
