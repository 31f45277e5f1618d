/** From an accepted socket to a connection of the gRPC server: who is there, TLS where there is an identity, and a name. */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Identity } from "../identity/identity.js";
import { describePeer, type Peer, type PeerIdentity } from "../peer.js";
import type { Log } from "../telemetry/log.js";
import type { Address } from "./address.js";
import type { GrpcServer } from "./h2/server.js";
import { greetClient } from "./tls.js";
import { createTurnAway } from "./turn-away.js";
import { unixPeer } from "./unix-peer.js";

export interface EntranceOptions {
  readonly identity?: Identity | undefined;
  readonly strangersWelcome?: boolean | undefined;
  /** Connections of one identity. */
  readonly maxConnectionsPerPeer: number;
  readonly log: Log;
}

export interface Entrance {
  enter(socket: Socket, peer: NetworkPeer, timeoutMs: number): void;
  /** Lets nobody in any more, and asks those who are in to go. */
  close(): void;
}

/** A peer at the other end of a socket. */
export type NetworkPeer = Exclude<Peer, { kind: "self" }>;

export function peerOf(socket: Socket, address: Address): NetworkPeer {
  if (address.kind === "unix") return unixPeer(socket) as NetworkPeer;
  return { kind: "tcp", address: `${socket.remoteAddress}:${socket.remotePort}` };
}

export function openEntrance(server: GrpcServer, options: EntranceOptions): Entrance {
  const { identity, strangersWelcome = false, log } = options;
  const turnAway = createTurnAway();
  // Tokens are signed with the key of the handshake. So after a renewal those who are here are asked to connect again;
  // their calls and streams in progress go on over the old connection until they end.
  const forget = identity?.onChange(() => server.leave());

  const present = new Map<string, number>();

  /** Whoever has too many is cut off: a process of ours has one or two. */
  function serveKnown(secured: Duplex, peer: NetworkPeer, known: PeerIdentity): void {
    const { spiffeId } = known;
    const count = present.get(spiffeId) ?? 0;
    if (count >= options.maxConnectionsPerPeer) {
      if (count === options.maxConnectionsPerPeer) {
        // said once, until one of them has gone
        present.set(spiffeId, count + 1);
        const reason = `"${spiffeId}" has ${count} connections here; further ones are closed`;
        log.warn(`refused a client: ${reason}`, {
          audit: "refused",
          policy: "connections",
          method: "connect",
          peer: describePeer(peer),
        });
      }
      secured.destroy();
      return;
    }
    present.set(spiffeId, count + 1);
    secured.once("close", () => {
      const left = Math.min(present.get(spiffeId) ?? 1, options.maxConnectionsPerPeer) - 1;
      if (left > 0) present.set(spiffeId, left);
      else present.delete(spiffeId);
    });
    server.serve(secured, identified(peer, known));
  }

  return {
    enter(socket, peer, timeoutMs) {
      if (identity === undefined) {
        server.serve(socket, peer);
        return;
      }
      greetClient(
        identity,
        socket,
        timeoutMs,
        (secured, greeting) => {
          if ("peer" in greeting) serveKnown(secured, peer, greeting.peer);
          else if (strangersWelcome && !greeting.showedAny) server.serve(secured, peer);
          else {
            log.warn(`refused a client: ${greeting.refused.details}`, {
              audit: "authentication",
              code: "UNAUTHENTICATED",
              peer: describePeer(peer),
            });
            turnAway(secured, peer);
          }
        },
        (why) =>
          log.info(`a client did not get through the TLS handshake: ${why.details}`, {
            peer: describePeer(peer),
            error: why,
          }),
      );
    },
    close() {
      forget?.();
      server.leave();
    },
  };
}

function identified(peer: NetworkPeer, identity: PeerIdentity): NetworkPeer {
  return { ...peer, spiffeId: identity.spiffeId, identity };
}
