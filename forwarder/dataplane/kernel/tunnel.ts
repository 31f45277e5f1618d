/**
 * A TUN interface in a workload's namespace whose other side is a wireguard-go process with its UDP socket in the
 * forwarder's. The interface is made in the forwarder's namespace, because the program looks for it there, and moved
 * while it is down: the program does not survive the move of one that is up (its UDP socket would stay closed).
 */
import { setTimeout as delay } from "node:timers/promises";
import { getLink, setLink } from "../../../sdk/linux/netlink/links.js";
import { moveLink } from "../../../sdk/linux/netlink/move-link.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import { endWireguardGo, startWireguardGo, uapiSocketPath, untilListening } from "../../../sdk/linux/wireguard-go.js";
import { encodeConfiguration, sendConfiguration } from "../../../sdk/linux/wireguard-uapi.js";
import { Code, type StatusError, statusError } from "../../../sdk/status.js";
import { type Built, type BuiltLink, linkOf } from "./built.js";
import { configureLink } from "./configure.js";
import { openPingGroups } from "./ping-groups.js";
import type { Plan } from "./plan.js";
import type { Workshop } from "./wire.js";

type TunnelPlan = Plan & { readonly kind: "wireguard" };

/** NSM's forwarders use the same (mechanisms/wireguard). */
const keepaliveSeconds = 10;
/** The program hears of the MTU by an event and reads it by name, which works only before the move. */
const hearsMtuMs = 20;
/** It looks once a second; more than that on a busy machine. */
const listensTimeoutMs = 5_000;

/** Makes the interface of a plan, which must not exist, and everything on it. On failure the caller calls `demolish`. */
export async function makeTunnel(shop: Workshop, plan: TunnelPlan, built: Built): Promise<void> {
  const [link] = plan.links;
  const wanted = linkOf(built, link.role);
  if (wanted?.tun === undefined) throw new Error(`no ${link.role} tunnel was planned`);
  const { device, alias } = wanted.tun;
  const place = shop.places.open(link.netnsUrl);
  if (getLink(place.socket, wanted.name) !== undefined) throw nameTaken(wanted);

  const pid = await startWireguardGo(shop.home, device, shop.processEnv);
  const made = getLink(shop.own, device, "without-statistics");
  if (made === undefined) throw statusError(Code.UNAVAILABLE, `interface ${device} vanished while it was being made; ask again`);
  shop.own.perform([setLink(made.index, { alias, mtuBytes: link.mtuBytes })]);
  await configure(plan, device);
  await delay(hearsMtuMs);
  try {
    shop.own.perform([moveLink(made.index, place.netns, wanted.name)]);
  } catch (error) {
    throw hasErrno(error, "EEXIST") ? nameTaken(wanted, error) : error;
  }
  const moved = getLink(place.socket, wanted.name, "without-statistics");
  if (moved === undefined)
    throw statusError(Code.NOT_FOUND, `interface ${wanted.name} vanished while it was being made; ask again`);
  openPingGroups(place, wanted);
  configureLink(place, moved, link, wanted, "fresh", []);
  if (await untilListening(pid, plan.tunnel.listenPort, listensTimeoutMs)) return;
  throw statusError(
    Code.UNAVAILABLE,
    `wireguard-go did not get UDP port ${plan.tunnel.listenPort} of this node; is it in use? Ask again for another`,
  );
}

/** Other keys, ports or addresses, in place. What the tunnel has already is left alone, so that its session goes on. */
export async function retargetTunnel(plan: TunnelPlan, wanted: BuiltLink, before: Plan): Promise<void> {
  if (before.kind === "wireguard" && JSON.stringify(before.tunnel) === JSON.stringify(plan.tunnel)) return;
  if (wanted.tun !== undefined) await configure(plan, wanted.tun.device);
}

/** Ends the processes; their interfaces and sockets go with them. */
export async function endTunnels(links: readonly BuiltLink[]): Promise<void> {
  await Promise.all(links.map(({ tun }) => (tun === undefined ? undefined : endWireguardGo(tun.device))));
}

function configure({ tunnel }: TunnelPlan, device: string): Promise<void> {
  const text = encodeConfiguration({
    privateKey: tunnel.privateKey,
    listenPort: tunnel.listenPort,
    peerPublicKey: tunnel.remotePublicKey,
    peerAddress: tunnel.remoteAddress,
    peerPort: tunnel.remotePort,
    keepaliveSeconds,
  });
  return sendConfiguration(uapiSocketPath(device), text);
}

function nameTaken({ name, netnsUrl }: BuiltLink, cause?: unknown): StatusError {
  return statusError(
    Code.ALREADY_EXISTS,
    `create wireguard: EEXIST: an interface named ${name} exists in ${netnsUrl} and is not ours; choose another name`,
    cause,
  );
}
