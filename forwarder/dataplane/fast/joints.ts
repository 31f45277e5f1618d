/**
 * Cross-connects inside the packet core: adds ports, joins them, takes them away. Everything is an "ensure": a port that the
 * core has already is that port, so a refresh changes nothing and a lost keeper is given everything again.
 */
import { hasErrno, isSystemError } from "../../../sdk/linux/system-error.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { PacketCore } from "../../native/core.js";
import type { CrossConnect } from "../dataplane.js";
import { type PortNeeds, type ReadyPort, readyPort, readyProxy } from "./core-ports.js";
import { coreName, type Shape, sides } from "./shape.js";

/** What a cross-connect has in the core. */
export interface Joint {
  /** Slots by name of the port: the client's first. */
  readonly ports: ReadonlyMap<string, number>;
  /** Undefined: a proxy. */
  readonly connect: number | undefined;
}

/**
 * @param before  what it has now; ports that it needs no longer are taken away
 * @throws a status; what `before` says may then be incomplete: the caller joins the old cross-connect again
 */
export async function join(
  core: PacketCore,
  crossConnect: CrossConnect,
  shape: Exclude<Shape, "whole">,
  before: Joint | undefined,
  needs: PortNeeds,
): Promise<Joint> {
  const ready: ReadyPort[] = [];
  try {
    if (shape === "proxy") ready.push(readyProxy(crossConnect));
    else for (const side of sides) ready.push(readyPort(crossConnect, side, needs));
    const wanted = new Set(ready.map(({ port }) => port.name));
    const stale = [...(before?.ports ?? [])].filter(([name]) => !wanted.has(name));
    // A port of before may hold the socket or the VNI that its successor needs.
    if (before !== undefined && stale.length > 0) await partPorts(core, before, stale);
    const added = new Map<string, number>();
    try {
      for (const { port } of ready) added.set(port.name, await core.addPort(port));
      return { ports: added, connect: shape === "proxy" ? undefined : await connect(core, crossConnect, [...added.values()]) };
    } catch (error) {
      for (const [name, slot] of added) {
        if (!before?.ports.has(name)) await core.removePort(slot).catch(() => {});
      }
      throw refusalOf(error, crossConnect);
    }
  } finally {
    for (const { close } of ready) close();
  }
}

/** Takes away what it has; what is gone already is fine. */
export async function part(core: PacketCore, joint: Joint): Promise<void> {
  await partPorts(core, joint, [...joint.ports]);
}

/** Ports and cross-connects in the core that nobody here knows of. */
export async function sweep(core: PacketCore, known: Iterable<Joint>): Promise<number> {
  const ports = new Set<number>();
  const connects = new Set<number>();
  for (const joint of known) {
    for (const slot of joint.ports.values()) ports.add(slot);
    if (joint.connect !== undefined) connects.add(joint.connect);
  }
  const entries = await core.list();
  const orphans = entries.filter(({ kind, slot }) => !(kind === "connect" ? connects : ports).has(slot));
  for (const { kind, slot } of orphans) if (kind === "connect") await gone(core.removeConnect(slot));
  for (const { kind, slot } of orphans) if (kind !== "connect") await gone(core.removePort(slot));
  return orphans.length;
}

async function partPorts(core: PacketCore, joint: Joint, ports: readonly (readonly [string, number])[]): Promise<void> {
  if (joint.connect !== undefined) await gone(core.removeConnect(joint.connect));
  for (const [, slot] of ports) await gone(core.removePort(slot));
}

async function gone(removal: Promise<void>): Promise<void> {
  await removal.catch((error: unknown) => {
    if (!hasErrno(error, "ENOENT")) throw error;
  });
}

function connect(core: PacketCore, { id, mtuBytes, traffic }: CrossConnect, [portA, portB]: readonly number[]): Promise<number> {
  if (portA === undefined || portB === undefined) throw new Error("a joint has two ports");
  const rates = [BigInt(traffic?.upBitsPerSecond ?? 0), BigInt(traffic?.downBitsPerSecond ?? 0)] as const;
  return core.setConnect({ name: coreName(id), portA, portB, mtuBytes, rateBitsPerSecond: rates, dscp: traffic?.dscp });
}

/** An error of the core as a status that the caller can act on. */
function refusalOf(error: unknown, crossConnect: CrossConnect): unknown {
  if (!isSystemError(error)) return error;
  const tunnel = sides.map((side) => crossConnect[side]).find((port) => port.kind === "vxlan");
  if (error.errno === "EADDRINUSE" && tunnel?.kind === "vxlan" && /vni/.test(error.message)) {
    const { vni, udpPort } = tunnel;
    return statusError(
      Code.ALREADY_EXISTS,
      `create vxlan vni=${vni} port=${udpPort}: EEXIST: the VNI is in use on this node; choose another`,
      error,
    );
  }
  const code = codes.get(error.errno) ?? Code.INTERNAL;
  return statusError(code, `cross-connect ${crossConnect.id}: ${error.message}`, error);
}

const codes = new Map<string, Code>([
  ["EADDRINUSE", Code.ALREADY_EXISTS],
  ["EEXIST", Code.ALREADY_EXISTS],
  ["EBUSY", Code.ALREADY_EXISTS],
  ["ENOENT", Code.NOT_FOUND],
  ["ENODEV", Code.NOT_FOUND],
  ["ENOSPC", Code.RESOURCE_EXHAUSTED],
  ["EMFILE", Code.RESOURCE_EXHAUSTED],
  ["ENFILE", Code.RESOURCE_EXHAUSTED],
  ["ENOMEM", Code.RESOURCE_EXHAUSTED],
  ["EPERM", Code.FAILED_PRECONDITION],
  ["EACCES", Code.FAILED_PRECONDITION],
  ["EADDRNOTAVAIL", Code.FAILED_PRECONDITION],
  ["EINVAL", Code.INVALID_ARGUMENT],
]);
