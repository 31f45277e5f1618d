/**
 * One ICMP echo from inside a network namespace, without a `ping` program: does the data path live?
 *
 * Uses a ping socket where the namespace allows it (icmp(7), ping_group_range), else a raw one (CAP_NET_RAW).
 */
import { randomBytes } from "node:crypto";
import { Code, statusError } from "../status.js";
import * as libc from "./libc.js";
import { type IpAddress, parseAddress, socketAddress } from "./netlink/ip-address.js";
import { openNetns, withNetns } from "./netns.js";
import { hasErrno, isSystemError } from "./system-error.js";

export interface EchoOptions {
  /** Where it is sent from (forms: netns-url.ts); absent = this process's namespace. */
  readonly netnsUrl?: string;
  /** Address to send from; empty = the kernel chooses. */
  readonly source: string;
  readonly destination: string;
  /** Interface it must leave by, whatever the routes say; absent = as they say. */
  readonly interfaceName?: string | undefined;
  readonly timeoutMs: number;
  /** Bytes behind the ICMP header, at least 16; default 16. With 28 (IPv4) or 48 (IPv6) less than the MTU a packet is full. */
  readonly payloadBytes?: number;
  /** Nobody on the way may cut it in pieces, and what is remembered about the path does not count. */
  readonly unfragmented?: boolean;
  readonly signal: AbortSignal;
}

const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const maxPacketBytes = 65536;
const tokenBytes = 16;

/**
 * Sends one echo request and waits for its answer. Undefined: none came in time, or the address cannot be reached or used.
 * @throws INVALID_ARGUMENT an address; NOT_FOUND the namespace; PERMISSION_DENIED neither kind of socket is allowed;
 *         the signal's reason when aborted
 */
export async function icmpEcho(options: EchoOptions): Promise<{ rttMs: number } | undefined> {
  options.signal.throwIfAborted();
  const destination = parseAddress(options.destination);
  const source = options.source === "" ? undefined : parseAddress(options.source);
  const { fd, raw } = openEchoSocket(options.netnsUrl, destination.family);
  try {
    const token = randomBytes(Math.max(tokenBytes, options.payloadBytes ?? tokenBytes) & ~1);
    const startMs = performance.now();
    try {
      if (options.interfaceName !== undefined) libc.bindToDevice(fd, options.interfaceName);
      if (options.unfragmented === true) forbidFragments(fd, destination);
      if (source !== undefined) libc.bindSocket(fd, socketAddress(source, 0), `bind ${options.source}`);
      libc.sendTo(
        fd,
        echoRequest(destination, token),
        socketAddress(destination, 0),
        `send an echo request to ${options.destination}`,
      );
    } catch (error) {
      if (isSystemError(error)) return undefined;
      throw error;
    }
    const answered = await waitForReply(fd, token, options, raw && destination.family === libc.AF_INET);
    return answered ? { rttMs: performance.now() - startMs } : undefined;
  } finally {
    libc.closeDescriptor(fd);
  }
}

/** IP_PMTUDISC_PROBE (ip(7), ipv6(7)). */
function forbidFragments(fd: number, { family }: IpAddress): void {
  const [level, option] = family === libc.AF_INET ? [0, 10] : [41, 23];
  libc.setSocketOption(fd, level, option, 3, "forbid fragments");
}

/**
 * A socket for echo requests, in that namespace; undefined = in ours. The caller closes it.
 * @throws NOT_FOUND the namespace; PERMISSION_DENIED neither kind of socket is allowed
 */
export function openEchoSocket(netnsUrl: string | undefined, family: IpAddress["family"]): { fd: number; raw: boolean } {
  const protocol = family === libc.AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  const open = (): { fd: number; raw: boolean } => {
    try {
      return { fd: libc.openSocket(family, libc.SOCK_DGRAM, protocol, "open a ping socket"), raw: false };
    } catch (error) {
      if (!hasErrno(error, "EACCES", "EPERM", "EPROTONOSUPPORT")) throw error;
    }
    try {
      return { fd: libc.openSocket(family, libc.SOCK_RAW, protocol, "open a raw ICMP socket"), raw: true };
    } catch (error) {
      throw statusError(Code.PERMISSION_DENIED, "ICMP echo needs CAP_NET_RAW, or this group in net.ipv4.ping_group_range", error);
    }
  };
  if (netnsUrl === undefined) return open();
  const netns = openNetns(netnsUrl);
  try {
    return withNetns(netns, open);
  } finally {
    netns.close();
  }
}

function waitForReply(fd: number, token: Buffer, { timeoutMs, signal }: EchoOptions, withIpHeader: boolean): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const buffer = Buffer.alloc(maxPacketBytes);
    let finished = false;
    const finish = (settle: () => void): void => {
      finished = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      poll.close();
      settle();
    };
    const aborted = (): void => finish(() => reject(signal.reason));
    const look = (): void => {
      try {
        for (;;) {
          const length = libc.receive(fd, buffer, libc.MSG_DONTWAIT, "receive an echo reply");
          if (length === undefined) return;
          if (!isReply(buffer.subarray(0, length), token, withIpHeader)) continue;
          finish(() => resolve(true));
          return;
        }
      } catch (error) {
        // Errors that routers report come as errors of recv(2): unreachable is no answer.
        finish(() => (isSystemError(error) ? resolve(false) : reject(error)));
      }
    };
    // After a lag of the event loop the timer runs before the answer that has come in time is looked at.
    const timedOut = (): void => {
      look();
      if (!finished) finish(() => resolve(false));
    };
    const timer = setTimeout(timedOut, timeoutMs);
    signal.addEventListener("abort", aborted);
    const poll = libc.pollReadable(fd, look);
  });
}

/** RFC 792 and RFC 4443: type, code, checksum, identifier, sequence, data. The kernel fills in what it knows better. */
function echoRequest(destination: IpAddress, token: Uint8Array): Buffer {
  const packet = Buffer.alloc(8 + token.length);
  packet[0] = destination.family === libc.AF_INET ? 8 : 128;
  packet.set(token.subarray(0, 2), 4);
  packet.writeUInt16BE(1, 6);
  packet.set(token, 8);
  // For ICMPv6 the kernel computes it, with the pseudo header.
  if (destination.family === libc.AF_INET) packet.writeUInt16BE(checksum(packet), 2);
  return packet;
}

/** Whether a received packet is the echo reply that carries our token. */
export function isReply(packet: Buffer, token: Uint8Array, withIpHeader: boolean): boolean {
  const offset = withIpHeader ? ((packet[0] ?? 0) & 0x0f) * 4 : 0;
  const type = packet[offset];
  return (type === 0 || type === 129) && packet.subarray(offset + 8).equals(token);
}

/** Internet checksum (RFC 1071) of an even number of bytes. */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let offset = 0; offset + 1 < bytes.length; offset += 2) sum += bytes.readUInt16BE(offset);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
