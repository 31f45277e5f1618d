/** Who is at the other end of an accepted unix socket. */
import type { Socket } from "node:net";
import { peerCredentials } from "../linux/peer-credentials.js";
import type { Peer } from "../peer.js";

/** Ids are 0 where the system does not tell: the connection has already gone. */
export function unixPeer(socket: Socket): Peer {
  // The one private field of Node that is needed here: no public one gives the descriptor of a socket.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  if (fd === undefined || fd < 0) return { kind: "unix", pid: 0, uid: 0, gid: 0 };
  try {
    return { kind: "unix", ...peerCredentials(fd) };
  } catch {
    return { kind: "unix", pid: 0, uid: 0, gid: 0 };
  }
}
