/** The ports of a cross-connect as VPP is asked for them. */
import { statSync } from "node:fs";
import { findNetns } from "../../../sdk/linux/find-netns.js";
import { macFrom, parseMac } from "../../../sdk/linux/netlink/mac-address.js";
import { openNetns, parseNetnsUrl } from "../../../sdk/linux/netns.js";
import { Code, statusError } from "../../../sdk/status.js";
import type { CrossConnect, MemifPort, Port } from "../dataplane.js";
import { isIpSide } from "../fast/shape.js";
import type { WantedInterface } from "./interfaces.js";
import type { Side, Tagger } from "./shape.js";

/** A port with everything that VPP needs to know of it. */
export interface ReadyPort {
  readonly wanted: WantedInterface;
  readonly tag: string;
  /** The workload's interface, where a part brings it here: for packets that get an Ethernet header on their way. */
  readonly workload: Workload | undefined;
}

export interface Workload {
  readonly macAddress: Uint8Array;
  /** CIDR; packets for anything else also go to it. */
  readonly addresses: readonly string[];
}

/** Where a part ends. */
export interface Patch {
  readonly name: string;
  readonly index: number;
  readonly workloadMac: Uint8Array | undefined;
}

/** The hardware address of VPP's side of a patch, known before it is made. */
export function patchMac(id: string, side: Side): string {
  return macFrom(`${id}/vpp/${side}`);
}

/** @throws NOT_FOUND namespace gone; INVALID_ARGUMENT */
export function readyPort(crossConnect: CrossConnect, side: Side, patch: Patch | undefined, tagger: Tagger): ReadyPort {
  const { id } = crossConnect;
  const port: Port = crossConnect[side];
  const wanted = wantedFor(crossConnect, side, port, patch);
  const addresses = port.kind === "kernel" ? port.addresses : [];
  const workload = patch?.workloadMac === undefined ? undefined : { macAddress: patch.workloadMac, addresses };
  // Without the hardware address: it is the same for the same cross-connect and side.
  return { wanted, tag: tagger.tag(id, side, { ...wanted, macAddress: "" }), workload };
}

function wantedFor(crossConnect: CrossConnect, side: Side, port: Port, patch: Patch | undefined): WantedInterface {
  const { id } = crossConnect;
  switch (port.kind) {
    case "kernel": {
      if (patch === undefined) throw new Error("a kernel interface comes by a patch");
      const macAddress = parseMac(patchMac(id, side));
      return { kind: "af_packet", hostInterface: patch.name, hostIndex: patch.index, macAddress, isUnderlay: false };
    }
    case "memif":
      return { kind: "memif", isServer: port.role === "server", isIp: isIpSide(port, crossConnect), socket: socketOf(port) };
    case "vxlan": {
      const { vni, udpPort, localAddress, remoteAddress } = port;
      return { kind: "vxlan", vni, udpPort, localAddress, remoteAddress };
    }
    case "wireguard": {
      const { privateKey, listenPort, remotePort, remotePublicKey, localAddress, remoteAddress } = port;
      return { kind: "wireguard", privateKey, listenPort, remotePort, remotePublicKey, localAddress, remoteAddress };
    }
    case "noop":
      throw statusError(Code.FAILED_PRECONDITION, `unbuilt ${port.mechanism}: there is nothing to join`);
  }
}

/**
 * A socket as VPP names it. It opens the namespace again whenever it connects, so the path must last: a descriptor of ours would not.
 */
function socketOf({ socketFile, netnsUrl }: MemifPort): string {
  const isAbstract = socketFile.startsWith("@");
  const name = isAbstract ? `abstract:${socketFile.slice(1)}` : socketFile;
  if (netnsUrl === "") return name;
  const parsed = parseNetnsUrl(netnsUrl);
  if (parsed.kind === "file" && statSync(parsed.path, { throwIfNoEntry: false })?.isSocket()) return parsed.path;
  openNetns(netnsUrl).close();
  const path = parsed.kind === "file" ? parsed.path : findNetns(parsed.dev, parsed.ino);
  if (path === undefined) throw statusError(Code.NOT_FOUND, `network namespace ${netnsUrl} has vanished; is the pod gone?`);
  return isAbstract ? `${name},netns_name=${path}` : name;
}
