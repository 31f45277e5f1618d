/**
 * Who builds what of a cross-connect (pure). VPP has every port at itself but kernel interfaces: those are brought to it by the
 * data plane beneath as *parts*, cross-connects of their own that end at a patch interface to which VPP attaches.
 *
 *   beneath  nothing for VPP: no packets at all, or two memif workloads that share their rings
 *   l2       frames are passed on as they are
 *   l3       IP packets: one side has no Ethernet header
 */
import { createHash } from "node:crypto";
import { Code, statusError } from "../../../sdk/status.js";
import type { CrossConnect, KernelPort, Port } from "../dataplane.js";
import { isIpSide, type Side, shapeOf as shapeForCore } from "../fast/shape.js";

export type { Side } from "../fast/shape.js";
export { sides } from "../fast/shape.js";
export type Shape = "beneath" | "l2" | "l3";

/** @throws INVALID_ARGUMENT a value is malformed; FAILED_PRECONDITION the two ports cannot be joined */
export function shapeOf(crossConnect: CrossConnect, options: { readonly directMemif: boolean }): Shape {
  const shape = shapeForCore(crossConnect, { coreTunnels: true, directMemif: options.directMemif, alwaysJoin: true });
  const { client, endpoint } = crossConnect;
  if (shape === "proxy" || client.kind === "noop" || endpoint.kind === "noop") return "beneath";
  for (const port of [client, endpoint]) if (port.kind === "memif") checkSocketName(port.socketFile);
  return isIpSide(client, crossConnect) || isIpSide(endpoint, crossConnect) ? "l3" : "l2";
}

/** What VPP's parser of socket names takes (vppinfra/socket.c); the rest it would cut off. */
function checkSocketName(name: string): void {
  const bad = /[^a-zA-Z0-9_/.@-]/.exec(name)?.[0];
  if (bad === undefined) return;
  const text = `memif socket ${JSON.stringify(name.slice(0, 120))}: VPP cannot have ${JSON.stringify(bad)} in it; use letters, digits, / _ - .`;
  throw statusError(Code.INVALID_ARGUMENT, text);
}

/** Whether the data plane beneath brings this side to VPP. */
export function isPart(port: Port): port is KernelPort {
  return port.kind === "kernel";
}

export function partId(id: string, side: Side): string {
  return `${id}#vpp-${side}`;
}

/** The id of the cross-connect that a part belongs to. */
export function ownerOf(id: string): string {
  return id.replace(/#vpp-(client|endpoint)$/, "");
}

/** What the data plane beneath is asked for one side. */
export function partOf(
  crossConnect: CrossConnect,
  side: Side,
  port: KernelPort,
  patch: KernelPort,
  generation: number,
): CrossConnect {
  return {
    ...crossConnect,
    id: partId(crossConnect.id, side),
    generation,
    payload: "ETHERNET",
    record: new Uint8Array(),
    client: side === "client" ? port : patch,
    endpoint: side === "endpoint" ? port : patch,
  };
}

export function patchPort(interfaceName: string, netnsUrl: string): KernelPort {
  const nothing = { addresses: [], onLinkPrefixes: [], routes: [], neighbors: [], policies: [] };
  return { kind: "kernel", netnsUrl, interfaceName, alias: "weft-vpp", macAddress: "", ...nothing };
}

export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** What our interfaces in VPP are tagged with: whose, of which cross-connect and side, and made from what. At most 63 bytes. */
export interface Tagger {
  readonly prefix: string;
  /** @param shape  everything that another interface would be needed for */
  tag(id: string, side: string, shape: unknown): string;
  /** Name of a patch interface; another data plane in the same namespace has others for the same id. */
  patch(id: string, side: Side): string;
}

export function taggerFor(owner: string): Tagger {
  const prefix = `weft ${digest(owner).slice(0, 10)} `;
  return {
    prefix,
    patch: (id, side) => `wv${side.slice(0, 1)}${digest(`${prefix}${id}`).slice(0, 12)}`,
    tag: (id, side, shape) =>
      `${prefix}${digest(id).slice(0, 20)} ${side.slice(0, 1)} ${digest(JSON.stringify(shape)).slice(0, 12)}`,
  };
}
