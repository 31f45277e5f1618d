/**
 * Who is at the other end of a unix socket, as the kernel saw it at connect time (SO_PEERCRED, unix(7)).
 */
import { SOL_SOCKET, socketOption } from "./libc.js";

export interface PeerCredentials {
  /** 0 when the process is not visible from our PID namespace. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

const SO_PEERCRED = 17;

/**
 * Credentials of the peer of a connected unix socket.
 * @throws SystemError ENOTSOCK, EBADF: not a socket
 */
export function peerCredentials(fd: number): PeerCredentials {
  const value = socketOption(fd, SOL_SOCKET, SO_PEERCRED, 12, `read peer credentials of descriptor ${fd}`);
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}
