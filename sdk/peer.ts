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

/** What names a file of this machine for everybody: st_dev and st_ino. */
export interface Inode {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** A descriptor of our own, to be closed by who has it. */
export interface HeldFile extends Inode {
  /** Opens it in this process; others of this PID namespace may open it too, with the right to. */
  readonly path: string;
  close(): void;
}

/** What calls on a connection can do with descriptors (unix(7), SCM_RIGHTS). */
export interface Descriptors {
  /** That file, if its descriptor has come already. */
  take(inode: Inode): HeldFile | undefined;
  /**
   * That file, as soon as its descriptor has come.
   * @throws the signal's reason; UNAVAILABLE the connection has ended
   */
  wait(inode: Inode, signal: AbortSignal): Promise<HeldFile>;
  /**
   * Sends that file with the next bytes, which must be those of the message that names it or come before them.
   * @throws Error with `code`: it cannot be opened (ENOENT, …), or too many wait to be sent (EBUSY)
   */
  send(path: string): Inode;
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
      /** Passes descriptors both ways; absent where paths under /proc do. */
      readonly descriptors?: Descriptors;
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
