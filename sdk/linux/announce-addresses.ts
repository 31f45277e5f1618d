/**
 * Tells the neighbours of an interface who has its addresses now, so that none goes on sending to a hardware address that is no
 * longer there: ARP announcements (RFC 5227 §3) and unsolicited neighbour advertisements (RFC 4861 §7.2.6).
 *
 * Sent as whole frames, so that neither the interface's settings nor a workload's privileges matter.
 */
import { checksum } from "./icmp-echo.js";
import * as libc from "./libc.js";
import type { IpAddress } from "./netlink/ip-address.js";
import { parseMac } from "./netlink/mac-address.js";
import { type NetnsHandle, withNetns } from "./netns.js";

export interface Announced {
  readonly linkIndex: number;
  readonly macAddress: string;
  readonly addresses: readonly IpAddress[];
}

const AF_PACKET = 17;
const ETH_P_IP6 = 0x86dd;
const ETH_P_ARP = 0x0806;
const IPPROTO_ICMPV6 = 58;
const ICMP6_NEIGHBOR_ADVERTISEMENT = 136;
/** It is the newest word: replaces what is cached. Neither router nor an answer to somebody. */
const overrideFlag = 0x20;
const broadcast = Buffer.from("ffffffffffff", "hex");
/** ff02::1, and the hardware address of that group (RFC 2464 §7). */
const allNodes = Buffer.from("ff020000000000000000000000000001", "hex");
const allNodesMac = Buffer.from("333300000001", "hex");

/**
 * Sends one announcement for each address. The socket is closed on a pool thread, because the kernel sleeps in that.
 * @throws SystemError without CAP_NET_RAW, or when an interface is gone or down
 */
export function announceAddresses(netns: Pick<NetnsHandle, "fd" | "ino">, announced: readonly Announced[]): void {
  const frames = announced.flatMap((each) =>
    each.addresses.map((address) => ({ each, frame: frameFor(each.macAddress, address) })),
  );
  if (frames.length === 0) return;
  // Protocol 0: it receives nothing.
  const fd = withNetns(netns, () => libc.openSocket(AF_PACKET, libc.SOCK_RAW, 0, "open a packet socket"));
  try {
    for (const { each, frame } of frames) libc.sendTo(fd, frame, linkAddress(each.linkIndex), "announce an address");
  } finally {
    libc.closeOnThread(fd);
  }
}

function frameFor(macAddress: string, address: IpAddress): Buffer {
  const mac = Buffer.from(parseMac(macAddress));
  const bytes = Buffer.from(address.bytes);
  return address.family === libc.AF_INET ? arpAnnouncement(mac, bytes) : neighbourAdvertisement(mac, bytes);
}

/** A request for our own address: who has an entry for it replaces it, and nobody answers. */
function arpAnnouncement(mac: Buffer, address: Buffer): Buffer {
  const arp = Buffer.alloc(28);
  arp.writeUInt16BE(1, 0); // Ethernet
  arp.writeUInt16BE(0x0800, 2); // IPv4
  arp.writeUInt8(6, 4);
  arp.writeUInt8(4, 5);
  arp.writeUInt16BE(1, 6); // request
  mac.copy(arp, 8);
  address.copy(arp, 14);
  address.copy(arp, 24);
  return Buffer.concat([broadcast, mac, ethertype(ETH_P_ARP), arp]);
}

function neighbourAdvertisement(mac: Buffer, address: Buffer): Buffer {
  const message = Buffer.alloc(32);
  message[0] = ICMP6_NEIGHBOR_ADVERTISEMENT;
  message[4] = overrideFlag;
  address.copy(message, 8);
  message[24] = 2; // option: target link-layer address, one unit of eight bytes
  message[25] = 1;
  mac.copy(message, 26);
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(message.length, 0);
  pseudo[7] = IPPROTO_ICMPV6;
  message.writeUInt16BE(checksum(Buffer.concat([address, allNodes, pseudo, message])), 2);
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(message.length, 4);
  header[6] = IPPROTO_ICMPV6;
  header[7] = 255; // a receiver refuses any less: it would have come through a router
  return Buffer.concat([allNodesMac, mac, ethertype(ETH_P_IP6), header, address, allNodes, message]);
}

function ethertype(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** struct sockaddr_ll */
function linkAddress(index: number): Buffer {
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeInt32LE(index, 4);
  address.writeUInt8(6, 11);
  return address;
}
