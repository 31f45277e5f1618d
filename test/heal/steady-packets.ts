/**
 * A thousand packets a second through one connection, each numbered, and which were answered: UDP to an echo server in the
 * endpoint's pod would need a server there, so echo requests are used, which every kernel answers. One socket for each address
 * pair; the pair is read anew for each packet, as a workload does that follows its connection.
 */
import { randomBytes } from "node:crypto";
import { checksum } from "../../sdk/linux/icmp-echo.js";
import * as libc from "../../sdk/linux/libc.js";
import { parseAddress, socketAddress } from "../../sdk/linux/netlink/ip-address.js";
import { openNetns, withNetns } from "../../sdk/linux/netns.js";

export interface SteadyReport {
  readonly sent: number;
  readonly lost: number;
  /** Numbers of those without an answer, the first ones. */
  readonly lostNumbers: readonly number[];
  /** Sends that the kernel refused, by errno. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface SteadyOptions {
  readonly netnsUrl: string;
  readonly addresses: () => { readonly source: string; readonly destination: string };
  readonly packetsPerSecond: number;
  /** Size of the next packet with its IP header, not to be fragmented; absent: small ones. */
  readonly packetBytes?: () => number;
}

interface Stream {
  readonly fd: number;
  readonly destination: Uint8Array;
  readonly poll: { close(): void };
}

const answerMs = 2_000;
const tickMs = 5;

/** @throws when the namespace or a socket cannot be opened */
export function startSteadyPackets({ netnsUrl, addresses, packetsPerSecond, packetBytes }: SteadyOptions) {
  const netns = openNetns(netnsUrl);
  const token = randomBytes(12);
  const streams = new Map<string, Stream>();
  const waiting = new Map<number, true>();
  const refused: Record<string, number> = {};
  const buffer = Buffer.alloc(16_384);
  let sent = 0;
  const startMs = performance.now();

  function streamTo(source: string, destination: string): Stream {
    const key = `${source} ${destination}`;
    const known = streams.get(key);
    if (known !== undefined) return known;
    const to = parseAddress(destination);
    const protocol = to.family === libc.AF_INET ? 1 : 58;
    const fd = withNetns(netns, () => libc.openSocket(to.family, libc.SOCK_DGRAM, protocol, "open a ping socket"));
    libc.setSocketOption(fd, libc.SOL_SOCKET, 33, 4 << 20, "make room for answers");
    // IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: IP_PMTUDISC_PROBE (ip(7), ipv6(7))
    const [level, option] = to.family === libc.AF_INET ? [0, 10] : [41, 23];
    if (packetBytes !== undefined) libc.setSocketOption(fd, level, option, 3, "forbid fragments");
    libc.bindSocket(fd, socketAddress(parseAddress(source), 0), `bind ${source}`);
    const stream = { fd, destination: socketAddress(to, 0), poll: libc.pollReadable(fd, () => read(fd)) };
    streams.set(key, stream);
    return stream;
  }
  function read(fd: number): void {
    for (;;) {
      let length: number | undefined;
      try {
        length = libc.receive(fd, buffer, libc.MSG_DONTWAIT, "read an answer");
      } catch {
        continue; // an error that was reported for one of our packets: it stays unanswered
      }
      if (length === undefined) return;
      if (buffer.subarray(8, 20).equals(token)) waiting.delete(buffer.readUInt32BE(20));
    }
  }
  function send(): void {
    const number = sent++;
    waiting.set(number, true);
    try {
      const { source, destination } = addresses();
      const ipHeaderBytes = destination.includes(":") ? 40 : 20;
      const packet = Buffer.alloc(packetBytes === undefined ? 24 : (packetBytes() - ipHeaderBytes) & ~1);
      const stream = streamTo(source, destination);
      packet[0] = destination.includes(":") ? 128 : 8;
      packet.writeUInt16BE(number & 0xffff, 6);
      token.copy(packet, 8);
      packet.writeUInt32BE(number, 20);
      if (packet[0] === 8) packet.writeUInt16BE(checksum(packet), 2);
      libc.sendTo(stream.fd, packet, stream.destination, "send");
    } catch (error) {
      const name = String((error as { errno?: string }).errno ?? (error as Error).message);
      refused[name] = (refused[name] ?? 0) + 1;
    }
  }
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startMs) * packetsPerSecond) / 1_000);
    while (sent < due) send();
  }, tickMs);
  return {
    sent: () => sent,
    async stop(): Promise<SteadyReport> {
      clearInterval(timer);
      const endMs = performance.now() + answerMs;
      while (waiting.size > 0 && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 10));
      for (const { fd, poll } of streams.values()) {
        poll.close();
        libc.closeDescriptor(fd);
      }
      netns.close();
      return { sent, lost: waiting.size, lostNumbers: [...waiting.keys()].slice(0, 20), refused };
    },
  };
}
