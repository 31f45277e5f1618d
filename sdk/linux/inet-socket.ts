/**
 * UDP and TCP sockets inside a network namespace, which is where they stay whoever uses them. With a mark (SO_MARK, CAP_NET_ADMIN)
 * rules of that namespace can tell them from the sockets of its workloads. Addresses are literals; ports in host order.
 */
import * as libc from "./libc.js";
import { parseAddress, socketAddress } from "./netlink/ip-address.js";
import { type NetnsHandle, withNetns } from "./netns.js";
import { hasErrno } from "./system-error.js";

type Place = Pick<NetnsHandle, "fd" | "ino">;

const SOCK_STREAM = 1;
const SO_REUSEADDR = 2;
const SO_MARK = 36;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

export interface SocketOptions {
  readonly mark?: number;
}

/** A bound socket and its port. `port` 0: the kernel chooses one that is free. */
export function boundSocket(
  netns: Place,
  kind: "udp" | "tcp",
  address: string,
  port: number,
): { readonly fd: number; readonly port: number } {
  const parsed = parseAddress(address);
  const what = `${kind} ${address} port ${port}`;
  const fd = openIn(netns, parsed.family, kind);
  try {
    if (kind === "tcp") libc.setSocketOption(fd, libc.SOL_SOCKET, SO_REUSEADDR, 1, `reuse ${what}`);
    if (parsed.family === libc.AF_INET6) libc.setSocketOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, `bind ${what}`);
    libc.bindSocket(fd, socketAddress(parsed, port), `bind ${what}`);
    return { fd, port: Buffer.from(libc.socketName(fd, `look at ${what}`)).readUInt16BE(2) };
  } catch (error) {
    libc.closeDescriptor(fd);
    throw error;
  }
}

/**
 * A socket that talks to one address only: the kernel drops what others send to it, and it leaves by a port the kernel
 * has drawn. TCP: the connection may still be on its way; reading and writing wait for it.
 * @throws SystemError  no route, no right to set the mark
 */
export function connectedSocket(
  netns: Place,
  kind: "udp" | "tcp",
  address: string,
  port: number,
  options: SocketOptions,
): number {
  const parsed = parseAddress(address);
  const what = `${kind} ${address} port ${port}`;
  const fd = openIn(netns, parsed.family, kind);
  try {
    if (options.mark !== undefined) libc.setSocketOption(fd, libc.SOL_SOCKET, SO_MARK, options.mark, `mark ${what}`);
    try {
      libc.connectSocket(fd, socketAddress(parsed, port), `connect ${what}`);
    } catch (error) {
      if (!hasErrno(error, "EINPROGRESS")) throw error;
    }
    return fd;
  } catch (error) {
    libc.closeDescriptor(fd);
    throw error;
  }
}

/**
 * A name that one process at a time can have in a network namespace (an abstract unix socket, unix(7)); the kernel takes it back
 * when the descriptor is closed, however its process ends. Undefined: somebody else has it.
 */
export function claimName(netns: Place, name: string): number | undefined {
  const fd = withNetns(netns, () => libc.openSocket(libc.AF_UNIX, libc.SOCK_DGRAM, 0, "open a unix socket"));
  const address = Buffer.concat([Buffer.from([libc.AF_UNIX, 0, 0]), Buffer.from(name)]);
  try {
    libc.bindSocket(fd, address, `claim ${name}`);
    return fd;
  } catch (error) {
    libc.closeDescriptor(fd);
    if (hasErrno(error, "EADDRINUSE")) return undefined;
    throw error;
  }
}

function openIn(netns: Place, family: number, kind: "udp" | "tcp"): number {
  const type = kind === "udp" ? libc.SOCK_DGRAM : SOCK_STREAM;
  return withNetns(netns, () => libc.openSocket(family, type | libc.SOCK_NONBLOCK, 0, `open a ${kind} socket`));
}
