/**
 * An interface of WireGuard by itself: made in the forwarder's namespace, where its UDP socket stays, configured, moved and
 * ended. The kernel makes it where it can, else a wireguard-go process does.
 */
import { setTimeout as delay } from "node:timers/promises";
import { findFamily } from "../../../sdk/linux/netlink/generic.js";
import { createPlainLink, deleteLink, getLink, type Link, setLink } from "../../../sdk/linux/netlink/links.js";
import { moveLink } from "../../../sdk/linux/netlink/move-link.js";
import { type NetlinkSocket, openGenericSocket } from "../../../sdk/linux/netlink/socket.js";
import { getWireguard, setWireguard, wireguardFamily } from "../../../sdk/linux/netlink/wireguard.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import {
  endWireguardGo,
  findProcess,
  interfaceNameOf,
  startWireguardGo,
  uapiSocketPath,
  untilListening,
} from "../../../sdk/linux/wireguard-go.js";
import {
  encodeConfiguration,
  readHandshakeMs,
  sendConfiguration,
  type WireguardConfiguration,
} from "../../../sdk/linux/wireguard-uapi.js";
import { Code, type StatusError, statusError } from "../../../sdk/status.js";
import type { WireguardPort, WireguardTunnel } from "../dataplane.js";
import type { BuiltLink, Tun } from "./built.js";
import type { Place } from "./places.js";
import type { Workshop } from "./wire.js";

/** NSM's forwarders use the same (mechanisms/wireguard). */
const keepaliveSeconds = 10;
/** The program hears of the MTU by an event and reads it by name, which works only before the move. */
const hearsMtuMs = 20;
/** The program looks once a second; more than that on a busy machine. */
const listensTimeoutMs = 5_000;

export interface NewDevice {
  readonly tun: Tun;
  /** In the workload's namespace. */
  readonly name: string;
  readonly mtuBytes: number;
  readonly configuration: WireguardConfiguration;
}

export function configurationOf(
  { remoteAddress }: Pick<WireguardPort, "remoteAddress">,
  tunnel: WireguardTunnel,
): WireguardConfiguration {
  return {
    privateKey: tunnel.privateKey,
    listenPort: tunnel.listenPort,
    peerPublicKey: tunnel.remotePublicKey,
    peerAddress: remoteAddress,
    peerPort: tunnel.remotePort,
    keepaliveSeconds,
  };
}

/**
 * Makes it and moves it, still down, with nothing on it.
 * @throws ALREADY_EXISTS its name is taken; FAILED_PRECONDITION it cannot be made here; SystemError
 */
export async function makeDevice(shop: Workshop, place: Place, wanted: NewDevice): Promise<Link> {
  const { tun, name, mtuBytes } = wanted;
  refuseTakenName(place, name);
  if (tun.backend === "kernel") shop.own.perform([createPlainLink(tun.device, wireguardFamily)]);
  else await startWireguardGo(shop.home, tun.device, shop.processEnv);
  const made = getLink(shop.own, tun.device, "without-statistics");
  if (made === undefined) throw vanished(tun.device);
  shop.own.perform([setLink(made.index, { alias: tun.alias, mtuBytes })]);
  await configureDevice(shop.home, tun, made.index, wanted.configuration);
  if (tun.backend !== "kernel") await delay(hearsMtuMs);
  try {
    shop.own.perform([moveLink(made.index, place.netns, name)]);
  } catch (error) {
    throw hasErrno(error, "EEXIST") ? nameTaken(name, error) : error;
  }
  const moved = getLink(place.socket, name, "without-statistics");
  if (moved === undefined) throw vanished(name);
  return moved;
}

/**
 * Sets it up by `up`, and waits until it has its UDP port.
 * @throws UNAVAILABLE somebody else has the port
 */
export async function startDevice(tun: Tun, udpPort: number, up: () => void): Promise<void> {
  try {
    up();
  } catch (error) {
    throw hasErrno(error, "EADDRINUSE") ? portTaken(udpPort, error) : error;
  }
  if (tun.backend === "kernel") return;
  const pid = findProcess(tun.device);
  if (pid === undefined || !(await untilListening(pid, udpPort, listensTimeoutMs))) throw portTaken(udpPort);
}

/** @param netns  where the interface is now */
export async function configureDevice(
  netns: Pick<NetnsHandle, "fd" | "ino">,
  tun: Tun,
  index: number,
  wanted: WireguardConfiguration,
): Promise<void> {
  if (tun.backend !== "kernel") return await sendConfiguration(uapiSocketPath(tun.device), encodeConfiguration(wanted));
  withGeneric(netns, (socket, family) => socket.perform([setWireguard(family, index, wanted)]));
}

/** When it has last agreed on session keys with the other end; milliseconds since the epoch, 0: never. */
export async function lastHandshakeMs({ netns }: Place, tun: Tun, index: number): Promise<number> {
  if (tun.backend !== "kernel") return await readHandshakeMs(uapiSocketPath(tun.device));
  return withGeneric(netns, (socket, family) => getWireguard(socket, family, index)?.peers[0]?.lastHandshakeMs ?? 0);
}

/**
 * Whether the interface of that name in a workload's namespace is this device's. Its kind and alias do not say so: the connection
 * that it was refused for has the same (a client that asks anew, unknown to its manager).
 */
export function isMoved(tun: Tun, name: string): boolean {
  return tun.backend === "kernel" || interfaceNameOf(tun.device) === name;
}

/** @throws ALREADY_EXISTS somebody else has the name, so nothing can be made there */
export function refuseTakenName({ socket }: Pick<Place, "socket">, name: string): void {
  if (getLink(socket, name, "without-statistics") !== undefined) throw nameTaken(name);
}

/** Ends the processes of these links, and what never got away from the forwarder's namespace. Interfaces of the kernel are for `demolish`. */
export async function endTunnels({ own }: Pick<Workshop, "own">, links: readonly BuiltLink[]): Promise<void> {
  await Promise.all(links.flatMap(({ tun, beside }) => [tun, beside].map((each) => endTunnel(own, each))));
}

export async function endTunnel(own: NetlinkSocket, tun: Tun | undefined): Promise<void> {
  if (tun === undefined) return;
  if (tun.backend !== "kernel") return await endWireguardGo(tun.device);
  const unmoved = getLink(own, tun.device, "without-statistics");
  if (unmoved?.kind === wireguardFamily) own.perform([deleteLink(unmoved.index)]);
}

function withGeneric<T>(netns: Pick<NetnsHandle, "fd" | "ino">, run: (socket: NetlinkSocket, family: number) => T): T {
  const socket = openGenericSocket(netns);
  try {
    const family = findFamily(socket, wireguardFamily);
    if (family === undefined)
      throw statusError(Code.FAILED_PRECONDITION, "the kernel's WireGuard has gone; load it again (modprobe wireguard)");
    return run(socket, family);
  } finally {
    socket.close();
  }
}

function portTaken(udpPort: number, cause?: unknown): StatusError {
  return statusError(
    Code.UNAVAILABLE,
    `WireGuard did not get UDP port ${udpPort} of this node; is it in use? Ask again for another`,
    cause,
  );
}

function nameTaken(name: string, cause?: unknown): StatusError {
  return statusError(
    Code.ALREADY_EXISTS,
    `create wireguard: EEXIST: an interface named ${name} exists in that namespace and is not ours; choose another name`,
    cause,
  );
}

function vanished(name: string): StatusError {
  return statusError(Code.NOT_FOUND, `interface ${name} vanished while it was being made; ask again`);
}
