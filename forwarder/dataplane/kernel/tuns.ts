/**
 * Which interfaces of WireGuard a connection has: the one that carries its packets and, while keys are rotated, one beside.
 * A device keeps its keys for life, so it is found again by them whichever of the two it is. Pure.
 */
import { newDeviceName } from "../../../sdk/linux/wireguard-go.js";
import type { Built, BuiltLink, Tun } from "./built.js";
import type { Plan, Role } from "./plan.js";

/** What makes the interfaces: the kernel itself, or wireguard-go. */
export type TunnelBackend = "kernel" | "program";

/** IFLA_INFO_KIND of its interface. */
export function kindOfTun({ backend }: Pick<Tun, "backend">): string {
  return backend === "kernel" ? "wireguard" : "tun";
}

/** The alias of an interface that stands beside; that of the other one is the connection's. */
export function besideAlias(device: string): string {
  return `weft-beside-${device}`;
}

/**
 * @param before  what is there now, with the plan it was built by
 * @param backend  what makes new ones
 */
export function chooseTuns(
  plan: Plan,
  before: { readonly built: Built; readonly plan: Plan } | undefined,
  backend: TunnelBackend,
): Pick<BuiltLink, "tun" | "beside"> {
  if (plan.kind !== "wireguard") return {};
  const { alias, role } = plan.links[0];
  const known = devicesByKey(before, role);
  const fresh = (): Omit<Tun, "alias"> => ({
    device: newDeviceName(),
    ...(backend === "kernel" ? { backend } : {}),
  });
  const { privateKey, beside } = plan.tunnel;
  // Keys that nobody has prepared beside: those of the interface that is there are changed in place.
  const inPlace = before?.built.links.find((link) => link.role === role)?.tun;
  const main = known.get(privateKey) ?? inPlace ?? fresh();
  const tun: Tun = { ...main, alias };
  if (beside === undefined) return { tun };
  const besideKnown = known.get(beside.privateKey);
  const second = besideKnown === undefined || besideKnown.device === main.device ? fresh() : besideKnown;
  return { tun, beside: { ...second, alias: besideAlias(second.device) } };
}

function devicesByKey(before: { readonly built: Built; readonly plan: Plan } | undefined, role: Role): Map<string, Tun> {
  const link = before?.built.links.find((each) => each.role === role);
  const known = new Map<string, Tun>();
  if (before?.plan.kind !== "wireguard" || link === undefined) return known;
  const { privateKey, beside } = before.plan.tunnel;
  if (link.tun !== undefined) known.set(privateKey, link.tun);
  if (link.beside !== undefined && beside !== undefined) known.set(beside.privateKey, link.beside);
  return known;
}

/** Devices that `before` has and `after` lacks. */
export function retiredTuns(before: BuiltLink | undefined, after: BuiltLink): Tun[] {
  const kept = new Set([after.tun?.device, after.beside?.device]);
  return [before?.tun, before?.beside].filter((tun) => tun !== undefined).filter(({ device }) => !kept.has(device));
}
