/** The ports of one cross-connect as the packet core is asked for them. */
import { statSync } from "node:fs";
import { openNetns, parseNetnsUrl } from "../../../sdk/linux/netns.js";
import type { CorePort } from "../../native/core.js";
import type { CrossConnect, MemifPort, Port } from "../dataplane.js";
import type { PatchRoom } from "./patch-room.js";
import { prepareWorkloadLink } from "./patch-room.js";
import { coreName, digest, isIpSide, isPart, patchName, type ShapeOptions, type Side } from "./shape.js";

/** A port that is ready to be added; the paths in it are valid until `close`. */
export interface ReadyPort {
  readonly port: CorePort;
  close(): void;
}

export interface PortNeeds {
  readonly room: PatchRoom;
  /** Path of the forwarder's own namespace, where tunnels of the core end. */
  readonly homePath: string;
  readonly options: ShapeOptions;
  /** The core's device for tunnels from that address; others go over UDP sockets of the kernel. */
  readonly underlay?: { readonly deviceName: string; readonly address: string } | undefined;
}

/** @throws NOT_FOUND namespace or interface gone; INVALID_ARGUMENT */
export function readyPort(crossConnect: CrossConnect, side: Side, needs: PortNeeds): ReadyPort {
  const port = crossConnect[side];
  const mode = isIpSide(port, crossConnect) ? "ip" : "ethernet";
  if (isPart(port, needs.options)) return patch(crossConnect, side, mode, needs);
  if (port.kind === "memif") return memif(crossConnect.id, side, port, mode);
  if (port.kind !== "vxlan") throw new Error(`the packet core has no port for ${port.kind}`);
  const { vni, udpPort, localAddress, remoteAddress } = port;
  const deviceName = needs.underlay?.address === localAddress ? needs.underlay.deviceName : undefined;
  const tunnel = {
    kind: "vxlan",
    mode: "ethernet",
    vni,
    udpPort,
    localAddress,
    remoteAddress,
    ...(deviceName && { deviceName }),
  } as const;
  return ready(crossConnect.id, side, { ...tunnel, netnsPath: needs.homePath }, "home", () => {});
}

/** The two ends of a proxy, as one port: it listens where the client connects, and connects where the endpoint listens. */
export function readyProxy({ id, client, endpoint }: CrossConnect): ReadyPort {
  if (client.kind !== "memif" || endpoint.kind !== "memif") throw new Error("a proxy has a memif on both sides");
  const [near, far] = [place(client), place(endpoint)];
  const sockets = { path: near.path, peerPath: far.path };
  const namespaces = {
    ...(near.netnsPath && { netnsPath: near.netnsPath }),
    ...(far.netnsPath && { peerNetnsPath: far.netnsPath }),
  };
  return ready(id, "client", { kind: "proxy", mode: "ethernet", ...sockets, ...namespaces }, `${near.key} ${far.key}`, () => {
    near.close();
    far.close();
  });
}

function patch(crossConnect: CrossConnect, side: Side, mode: CorePort["mode"], { room }: PortNeeds): ReadyPort {
  const own = crossConnect[side];
  const path = patchName(crossConnect.id, side);
  const macAddress = own.kind === "kernel" ? prepareWorkloadLink(own.netnsUrl, own.interfaceName) : undefined;
  const found = room.find(path);
  // Made anew it has another index: then it is another port.
  const port = { kind: "packet", mode, path, netnsPath: found.netnsPath, ...(macAddress && { macAddress }) } as const;
  return ready(crossConnect.id, side, port, String(found.index), found.close);
}

function memif(id: string, side: Side, port: MemifPort, mode: CorePort["mode"]): ReadyPort {
  const { path, netnsPath, key, close } = place(port);
  return ready(id, side, { kind: "memif", mode, role: port.role, path, ...(netnsPath && { netnsPath }) }, key, close);
}

interface Place {
  readonly path: string;
  readonly netnsPath: string | undefined;
  /** The same for the same place, whatever its paths. */
  readonly key: string;
  close(): void;
}

/** Where a socket is: the URL names a namespace for an abstract name, or the socket itself. */
function place({ socketFile, netnsUrl }: MemifPort): Place {
  if (netnsUrl === "") return { path: socketFile, netnsPath: undefined, key: "own", close: () => {} };
  const parsed = parseNetnsUrl(netnsUrl);
  if (parsed.kind === "file" && statSync(parsed.path, { throwIfNoEntry: false })?.isSocket()) {
    return { path: parsed.path, netnsPath: undefined, key: parsed.path, close: () => {} };
  }
  const netns = openNetns(netnsUrl);
  return {
    path: socketFile,
    netnsPath: `/proc/${process.pid}/fd/${netns.fd}`,
    key: `${netns.dev}/${netns.ino}`,
    close: netns.close,
  };
}

function ready(id: string, side: Side, port: Omit<CorePort, "name">, place: string, close: () => void): ReadyPort {
  const { netnsPath, peerNetnsPath, ...lasting } = port;
  const name = `${coreName(id)}.${side.slice(0, 1)}.${digest(JSON.stringify([lasting, place])).slice(0, 12)}`;
  return { port: { ...port, name }, close };
}

/** For texts. */
export function describeSide(port: Port): string {
  return port.kind === "memif" ? `memif ${port.socketFile}` : port.kind;
}
