/** Who is at the other end of a call. */
export type Peer =
  /** Work that this process started itself. */
  | { readonly kind: "self" }
  /**
   * A process of this machine on a unix socket. Ids come from SO_PEERCRED (unix(7)); pid is 0 when the process is
   * not visible in our PID namespace.
   */
  | { readonly kind: "unix"; readonly pid: number; readonly uid: number; readonly gid: number; readonly spiffeId?: string }
  | { readonly kind: "tcp"; readonly address: string; readonly spiffeId?: string };

/** A short text for logs and error details. */
export function describePeer(peer: Peer): string {
  switch (peer.kind) {
    case "self":
      return "this process";
    case "unix":
      return peer.spiffeId ?? `process ${peer.pid} (uid ${peer.uid})`;
    case "tcp":
      return peer.spiffeId ?? peer.address;
  }
}
