/**
 * Who builds what of a cross-connect (pure). A side that the packet core cannot be at itself is brought to it by the
 * kernel data plane as a *part*: a cross-connect of its own that ends at a patch interface, to which the core attaches.
 *
 *   whole    no memif and nothing else that needs the core: the kernel data plane alone, as ever
 *   proxy    memif on both sides: the two workloads share their rings, only the handshake passes through us
 *   joined   the core moves the packets between its two ports
 */
import { createHash } from "node:crypto";
import { Code, statusError } from "../../../sdk/status.js";
import type { CrossConnect, KernelPort, MemifPort, Port } from "../dataplane.js";
import { planOf } from "../kernel/plan.js";

export type Side = "client" | "endpoint";
export const sides: readonly Side[] = ["client", "endpoint"];

export interface ShapeOptions {
  /** The core ends VXLAN tunnels itself instead of having the kernel do it. */
  readonly coreTunnels: boolean;
  /** memif workloads of one node share their rings. */
  readonly directMemif: boolean;
  /** Also kernel to kernel passes through the core: for tests of it. */
  readonly alwaysJoin: boolean;
}

export type Shape = "whole" | "proxy" | "joined";

/**
 * @throws INVALID_ARGUMENT a value is malformed; FAILED_PRECONDITION the two ports cannot be joined
 */
export function shapeOf(crossConnect: CrossConnect, options: ShapeOptions): Shape {
  const { client, endpoint } = crossConnect;
  const kinds = [client.kind, endpoint.kind];
  check(crossConnect);
  // Limits are kept by the core, so the packets have to pass it.
  const limited = crossConnect.traffic !== undefined;
  if (limited && !kinds.includes("noop")) return "joined";
  if (kinds.every((kind) => kind === "memif")) return options.directMemif ? "proxy" : "joined";
  if (kinds.includes("memif")) return "joined";
  if (kinds.includes("noop") || kinds.includes("wireguard")) return "whole";
  return options.alwaysJoin || (options.coreTunnels && kinds.includes("vxlan")) ? "joined" : "whole";
}

/** The same rules as for the kernel, with an interface standing where a memif is. */
function check(crossConnect: CrossConnect): void {
  const stand = (side: Side): Port =>
    crossConnect[side].kind === "memif" ? patchPort("check", `check-${side}`) : crossConnect[side];
  for (const side of sides) {
    const port = crossConnect[side];
    const other = crossConnect[side === "client" ? "endpoint" : "client"];
    if (port.kind !== "memif") continue;
    checkMemif(port);
    if (other.kind === "noop")
      throw statusError(Code.FAILED_PRECONDITION, `memif to unbuilt ${other.mechanism}: there is nothing to join`);
  }
  planOf({ ...crossConnect, client: stand("client"), endpoint: stand("endpoint") });
}

/** Room in sockaddr_un (unix(7)). */
const maxSocketBytes = 107;

function checkMemif({ socketFile, netnsUrl }: MemifPort): void {
  const bytes = Buffer.byteLength(socketFile);
  if (bytes > maxSocketBytes || socketFile.includes("\0") || (bytes < 2 && netnsUrl === "")) {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `memif socket ${JSON.stringify(socketFile.slice(0, 120))}: give a name of 2…${maxSocketBytes} bytes`,
    );
  }
}

/** Whether the kernel data plane brings this side to the core. */
export function isPart(port: Port, options: ShapeOptions): boolean {
  return port.kind === "kernel" || port.kind === "wireguard" || (port.kind === "vxlan" && !options.coreTunnels);
}

/** Whether packets of this side begin with an IP header. */
export function isIpSide(port: Port, { payload }: Pick<CrossConnect, "payload">): boolean {
  return port.kind === "wireguard" || (port.kind === "memif" && payload === "IP");
}

export function partId(id: string, side: Side): string {
  return `${id}#${side}`;
}

/** The id of the cross-connect that a part belongs to. */
export function ownerOf(id: string): string {
  return id.replace(/#(client|endpoint)$/, "");
}

/** What the kernel data plane is asked for one side. */
export function partOf(crossConnect: CrossConnect, side: Side, patchNetnsUrl: string, generation: number): CrossConnect {
  const patch = patchPort(patchNetnsUrl, patchName(crossConnect.id, side));
  return {
    ...crossConnect,
    id: partId(crossConnect.id, side),
    generation,
    record: new Uint8Array(),
    traffic: undefined,
    // A tunnel of the kernel data plane has the workload's interface at its other end, whichever side that is.
    client: side === "client" ? crossConnect.client : patch,
    endpoint: side === "endpoint" ? crossConnect.endpoint : patch,
  };
}

export function patchName(id: string, side: Side): string {
  return `wf${side.slice(0, 1)}${digest(id).slice(0, 12)}`;
}

/** A name for the core, which knows nothing of connections. */
export function coreName(id: string): string {
  return digest(id).slice(0, 24);
}

export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function patchPort(netnsUrl: string, interfaceName: string): KernelPort {
  const nothing = { addresses: [], onLinkPrefixes: [], routes: [], neighbors: [], policies: [] };
  return { kind: "kernel", netnsUrl, interfaceName, alias: "weft-fast", macAddress: "", ...nothing };
}
