/**
 * An interface of WireGuard in a workload's namespace with its UDP socket in the forwarder's. It is made in the forwarder's
 * namespace, because its socket stays where it was made, and moved while it is down: wireguard-go does not survive the move
 * of one that is up. While keys are rotated a second one stands beside (tunnel-switch.ts).
 */
import { release } from "node:os";
import { getLink, type Link, setLink } from "../../../sdk/linux/netlink/links.js";
import { type Built, type BuiltLink, linkOf, type Tun } from "./built.js";
import { configureLink } from "./configure.js";
import { openPingGroups } from "./ping-groups.js";
import { type Home, type Place, withPlaces } from "./places.js";
import type { Plan } from "./plan.js";
import { isStrictEverywhere, loosenReversePath } from "./reverse-path.js";
import { configurationOf, configureDevice, endTunnel, lastHandshakeMs, makeDevice, startDevice } from "./tunnel-device.js";
import { switchTunnels } from "./tunnel-switch.js";
import { kindOfTun, retiredTuns } from "./tuns.js";
import type { Workshop } from "./wire.js";

export type TunnelPlan = Plan & { readonly kind: "wireguard" };

/** Makes the interfaces of a plan, which must not exist, and everything on them. On failure the caller calls `demolish`. */
export async function makeTunnel(shop: Workshop, plan: TunnelPlan, built: Built): Promise<void> {
  const [link] = plan.links;
  const wanted = linkOf(built, link.role);
  if (wanted?.tun === undefined) throw new Error(`no ${link.role} tunnel was planned`);
  const { tun } = wanted;
  const place = shop.places.open(link.netnsUrl);
  const { name, mtuBytes } = link;
  const moved = await makeDevice(shop, place, { tun, name, mtuBytes, configuration: configurationOf(plan.tunnel, plan.tunnel) });
  openPingGroups(place, wanted);
  await startDevice(tun, plan.tunnel.listenPort, () => configureLink(place, moved, link, wanted, "fresh", []));
  await makeBeside(shop, plan, wanted, place);
}

/**
 * Makes the interfaces equal to the plan without losing a packet: what stands beside and is to carry the packets changes
 * places with what does, and a new one is made beside. What the plan lacks is for `endRetired`.
 * @param main  the interface that carries the packets
 * @returns the interface that carries the packets afterwards
 */
export async function updateTunnel(
  shop: Workshop,
  { plan, planBefore, wanted, earlier }: TunnelUpdate,
  place: Place,
  main: Link,
): Promise<{ main: Link; changed: boolean }> {
  const [link] = plan.links;
  const successor = findBeside(place, wanted.tun);
  let current = main;
  if (successor !== undefined) {
    switchTunnels(place, { from: main, to: successor, plan: link, wanted, aside: earlier?.tun });
    current = getLink(place.socket, successor.index) ?? successor;
  } else if (wanted.tun !== undefined && !sameTarget(plan, planBefore)) {
    await configureDevice(place.netns, wanted.tun, current.index, configurationOf(plan.tunnel, plan.tunnel));
  }
  const made = await makeBeside(shop, plan, wanted, place);
  if (!made) await retargetBeside(plan, planBefore, wanted, place);
  return { main: current, changed: made || successor !== undefined };
}

/** Ends what a link has no more. */
export async function endRetired(shop: Workshop, place: Place, earlier: BuiltLink | undefined, wanted: BuiltLink): Promise<void> {
  for (const tun of retiredTuns(earlier, wanted)) {
    const link = findBeside(place, tun);
    await endTunnel(shop.own, tun);
    if (link !== undefined && tun.backend === "kernel") await shop.reaper.deleteLink(place.netns, link.index);
  }
}

export interface TunnelUpdate {
  readonly plan: TunnelPlan;
  readonly planBefore: Plan;
  readonly wanted: BuiltLink;
  readonly earlier: BuiltLink | undefined;
}

/** The interface that stands beside under the name of its device. */
export function findBeside({ socket }: Place, tun: Tun | undefined): Link | undefined {
  const link = tun && getLink(socket, tun.device);
  return link !== undefined && tun !== undefined && link.kind === kindOfTun(tun) ? link : undefined;
}

/** Whether the second tunnel of a cross-connect, if it has one, has agreed on session keys with the other end. */
export async function isBesideProven(from: Home, built: Built | undefined): Promise<boolean> {
  const tunnelled = built?.links.find(({ beside }) => beside !== undefined);
  const tun = tunnelled?.beside;
  if (tunnelled === undefined || tun === undefined) return false;
  return await withPlaces(from, async (places) => {
    const place = places.find(tunnelled);
    const link = place && findBeside(place, tun);
    return place !== undefined && link !== undefined && (await lastHandshakeMs(place, tun, link.index)) > 0;
  });
}

/** Whether two tunnels may change places there: interfaces are renamed while they are up, and receive what leaves by the other. */
export async function hasRoomBeside(from: Home, built: Built | undefined): Promise<boolean> {
  const tunnelled = built?.links.find(({ tun }) => tun !== undefined);
  if (tunnelled === undefined || !renamesWhatIsUp()) return false;
  return await withPlaces(from, (places) => {
    const place = places.find(tunnelled);
    return place !== undefined && !isStrictEverywhere(place);
  });
}

/** Since Linux 6.2. */
function renamesWhatIsUp(): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major > 6 || (major === 6 && minor >= 2);
}

/** Whether it had to be made. */
async function makeBeside(shop: Workshop, plan: TunnelPlan, wanted: BuiltLink, place: Place): Promise<boolean> {
  const { beside: tun } = wanted;
  const { tunnel } = plan;
  if (tun === undefined || tunnel.beside === undefined || findBeside(place, tun) !== undefined) return false;

  const { mtuBytes } = plan.links[0];
  const configuration = configurationOf(tunnel, tunnel.beside);
  const moved = await makeDevice(shop, place, { tun, name: tun.device, mtuBytes, configuration });
  loosenReversePath(place, tun.device);
  await startDevice(tun, tunnel.beside.listenPort, () => place.socket.perform([setLink(moved.index, { up: true })]));
  return true;
}

/** The other forwarder has made other keys of its own for the second tunnel. */
async function retargetBeside(plan: TunnelPlan, before: Plan, { beside: tun }: BuiltLink, place: Place): Promise<void> {
  const { beside } = plan.tunnel;
  const link = findBeside(place, tun);
  const known = before.kind === "wireguard" ? before.tunnel.beside : undefined;
  if (tun === undefined || beside === undefined || link === undefined || known?.privateKey !== beside.privateKey) return;
  if (known.remotePublicKey === beside.remotePublicKey && known.remotePort === beside.remotePort) return;
  await configureDevice(place.netns, tun, link.index, configurationOf(plan.tunnel, beside));
}

function sameTarget(plan: TunnelPlan, before: Plan): boolean {
  if (before.kind !== "wireguard") return false;
  const target = ({ tunnel }: TunnelPlan): string => JSON.stringify(configurationOf(tunnel, tunnel));
  return target(plan) === target(before);
}
