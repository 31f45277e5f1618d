/** Who is at the other end of a unix socket. */
import type { Socket } from "node:net";
import { peerCredentials } from "../linux/peer-credentials.js";
import type { Peer } from "../peer.js";

/** Ids are 0 where the system does not tell: the connection has already gone. */
export function unixPeer(socket: Socket): Peer {
  const fd = descriptorOf(socket);
  if (fd === undefined) return { kind: "unix", pid: 0, uid: 0, gid: 0 };
  try {
    return { kind: "unix", ...peerCredentials(fd) };
  } catch {
    return { kind: "unix", pid: 0, uid: 0, gid: 0 };
  }
}

/** The descriptor that Node has for a socket; undefined when it has been closed. */
export function descriptorOf(socket: Socket): number | undefined {
  // The one private field of Node that is needed here: no public one gives the descriptor of a socket.
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null || !("fd" in handle)) return undefined;
  return typeof handle.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}
