/** Who is at the other end of a call. */
import type { KeyObject } from "node:crypto";

/** What a peer has proved in the handshake of its connection. */
export interface PeerIdentity {
  readonly spiffeId: string;
  /** The leaf certificate it showed, PEM. */
  readonly certificatePem: string;
  /** The key of that certificate: tokens of the peer are signed with it. */
  readonly publicKey: KeyObject;
  /** When that certificate ends, in milliseconds since the epoch. */
  readonly notAfterMs: number;
}

export type Peer =
  /** Work that this process started itself. */
  | { readonly kind: "self" }
  /**
   * A process of this machine on a unix socket. Ids come from SO_PEERCRED (unix(7)); pid is 0 when the process is
   * not visible in our PID namespace.
   */
  | {
      readonly kind: "unix";
      readonly pid: number;
      readonly uid: number;
      readonly gid: number;
      readonly spiffeId?: string;
      /** Absent without mutual TLS. */
      readonly identity?: PeerIdentity;
    }
  | { readonly kind: "tcp"; readonly address: string; readonly spiffeId?: string; readonly identity?: PeerIdentity };

/** What the peer has proved; undefined without mutual TLS, and for work of this process. */
export function identityOf(peer: Peer): PeerIdentity | undefined {
  return peer.kind === "self" ? undefined : peer.identity;
}

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
