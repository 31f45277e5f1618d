/**
 * A canary in each pod: sends frames that bear its tenant's mark out of every interface, and reads every frame that
 * arrives, on any interface (packet(7)). A frame with another tenant's mark is a leak.
 */
import * as libc from "../../sdk/linux/libc.js";
import { type Link, listLinks } from "../../sdk/linux/netlink/links.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { type NetnsHandle, withNetns } from "../../sdk/linux/netns.js";
import type { CleanUp } from "../../sdk/testing/cleanup.js";

export interface Canary {
  readonly tenant: string;
  /** Sends one marked frame of each kind out of every interface that is up; returns how many. */
  sing(): number;
  /** Marked frames that came in, by the tenant whose mark they bear. */
  readonly heard: ReadonlyMap<string, number>;
  /** Where foreign ones came in: "interface: description". */
  readonly leaks: readonly string[];
}

const AF_PACKET = 17;
const ETH_P_ALL = 0x0003;
/** IEEE 802 local experimental ethertype 1. */
const experimental = 0x88b5;
const mark = "weft-canary:";
const markPattern = /weft-canary:([a-z]+);/;

export function startCanary(t: CleanUp, netns: NetnsHandle, tenant: string): Canary {
  const links = openNetlinkSocket(netns);
  t.after(() => links.close());
  const verb = `open a packet socket in namespace ${netns.ino}`;
  const fd = withNetns(netns, () =>
    libc.openSocket(AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, swap(ETH_P_ALL), verb),
  );
  const heard = new Map<string, number>();
  const leaks: string[] = [];
  const buffer = Buffer.alloc(4096);
  const drain = (): void => {
    for (;;) {
      const received = libc.receiveFrom(fd, buffer, "receive a frame");
      if (received === undefined) return;
      const from = markPattern.exec(buffer.subarray(0, Math.min(received.length, buffer.length)).toString("latin1"))?.[1];
      const outgoing = received.address.readUInt8(10) === PACKET_OUTGOING;
      if (from === undefined || (outgoing && from === tenant)) continue;
      heard.set(from, (heard.get(from) ?? 0) + 1);
      if (from !== tenant) leaks.push(`interface ${received.address.readInt32LE(4)}: a frame of ${from}`);
    }
  };
  const poll = libc.pollReadable(fd, drain);
  t.after(() => {
    poll.close();
    libc.closeDescriptor(fd);
  });
  const frames = [broadcast(experimental, Buffer.from(`${mark}${tenant};`)), udpBroadcast(Buffer.from(`${mark}${tenant};`))];
  return {
    tenant,
    heard,
    leaks,
    sing() {
      const up = upLinks(links);
      for (const { index } of up) for (const frame of frames) sendOut(fd, index, frame);
      return up.length * frames.length;
    },
  };
}

const PACKET_OUTGOING = 4;

function upLinks(socket: NetlinkSocket): Link[] {
  return listLinks(socket).filter(({ name, up }) => up && name !== "lo");
}

/** An interface may go between listing and sending; that is what this test is about. */
function sendOut(fd: number, index: number, frame: Buffer): void {
  const address = Buffer.alloc(20); // struct sockaddr_ll
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_ALL, 2);
  address.writeInt32LE(index, 4);
  address.writeUInt8(6, 11);
  address.fill(0xff, 12, 18);
  try {
    libc.sendTo(fd, frame, address, "send a marked frame");
  } catch {
    // gone, down or congested: not sent
  }
}

function broadcast(ethertype: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(14, 0xff);
  header.write("020000c0ffee", 6, "hex");
  header.writeUInt16BE(ethertype, 12);
  return Buffer.concat([header, payload, Buffer.alloc(64)]);
}

/** From and to addresses that both tenants use, so that only the wiring can tell them apart. */
function udpBroadcast(payload: Buffer): Buffer {
  const ip = Buffer.alloc(28);
  ip.write("4500", 0, "hex");
  ip.writeUInt16BE(28 + payload.length, 2);
  ip.write("4011", 8, "hex"); // time to live 64, UDP
  ip.set([10, 0, 0, 1, 10, 0, 0, 0], 12);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += ip.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  ip.writeUInt16BE(~sum & 0xffff, 10);
  ip.writeUInt16BE(5353, 20);
  ip.writeUInt16BE(5353, 22);
  ip.writeUInt16BE(8 + payload.length, 24);
  return broadcast(0x0800, Buffer.concat([ip, payload]));
}

function swap(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}
