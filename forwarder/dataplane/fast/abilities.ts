/** What the packet core adds to the abilities of the kernel's data plane on this machine, and why not more. */
import { MechanismType } from "../../../sdk/api.js";
import type { Capability, DataPlane } from "../dataplane.js";
import type { ShapeOptions } from "./shape.js";
import { type Underlay, type UnderlayChoice, underlayCapability } from "./underlay.js";

/** In the order in which they would be chosen. */
export function mechanismsOf(
  known: readonly MechanismType[],
  { coreTunnels }: ShapeOptions,
  underlay: Underlay | undefined,
): MechanismType[] {
  const first = known.filter((type) => type === MechanismType.KERNEL);
  // WireGuard's sockets are the kernel's, which does not have the address of a device.
  const besides: readonly MechanismType[] = [
    ...[MechanismType.KERNEL, MechanismType.VXLAN],
    ...(underlay === undefined ? [] : [MechanismType.WIREGUARD]),
  ];
  const tunnels = coreTunnels || known.includes(MechanismType.VXLAN) ? [MechanismType.VXLAN] : [];
  return [...first, MechanismType.MEMIF, ...tunnels, ...known.filter((type) => !besides.includes(type))];
}

/** Of the link that carries tunnels from this address. */
export async function underlayMtuOf(
  localAddress: string,
  underlay: Underlay | undefined,
  kernel: Pick<DataPlane, "underlayMtuBytes">,
): Promise<number> {
  const own = localAddress === underlay?.address ? underlay.state()?.mtuBytes : undefined;
  return own ?? (await kernel.underlayMtuBytes(localAddress));
}

interface Options {
  readonly obstacle?: string | undefined;
  readonly shape: ShapeOptions;
  readonly underlay?: UnderlayChoice | undefined;
}

export function capabilitiesOf({ obstacle, shape, underlay: made }: Options, underlay: Underlay | undefined): Capability[] {
  const memif = memifCapability(obstacle, shape);
  return made === undefined ? [memif] : [memif, underlayCapability(underlay, "obstacle" in made ? made.obstacle : "")];
}

function memifCapability(obstacle: string | undefined, { coreTunnels, directMemif }: ShapeOptions): Capability {
  if (obstacle !== undefined) return { name: "memif", supported: "no", detail: obstacle };
  const tunnels = coreTunnels ? "VXLAN ends in the packet core" : "tunnels end in the kernel";
  const rings = directMemif ? "memif peers of this node share their rings" : "memif peers of this node are joined by the core";
  return { name: "memif", supported: "yes", detail: `packet core built; ${tunnels}; ${rings}` };
}
