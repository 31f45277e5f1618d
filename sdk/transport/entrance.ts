/** From an accepted socket to a connection of the gRPC server: who is there, TLS where there is an identity, and a name. */
import type { Socket } from "node:net";
import { type ConnectionInjector, type Server, ServerCredentials } from "@grpc/grpc-js";
import type { Identity } from "../identity/identity.js";
import { describePeer, type Peer, type PeerIdentity } from "../peer.js";
import type { Log } from "../telemetry/log.js";
import type { Address } from "./address.js";
import { greetClient } from "./tls.js";
import { createTurnAway } from "./turn-away.js";
import { unixPeer } from "./unix-peer.js";

export interface EntranceOptions {
  readonly identity?: Identity | undefined;
  readonly strangersWelcome?: boolean | undefined;
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

/**
 * @param peers  gets who is behind each connection, by the name that gRPC has for it
 */
export function openEntrance(server: Server, options: EntranceOptions, peers: Map<string, Peer>): Entrance {
  const { identity, strangersWelcome = false, log } = options;
  const plain = ServerCredentials.createInsecure();
  let injector: ConnectionInjector = server.createConnectionInjector(plain);
  const turnAway = createTurnAway();
  // Tokens are signed with the key of the handshake. So after a renewal those who are here are asked to connect again;
  // their calls and streams in progress go on over the old connection until they end.
  const forget = identity?.onChange(() => {
    const before = injector;
    injector = server.createConnectionInjector(plain);
    before.destroy();
  });

  function inject(socket: Socket, peer: NetworkPeer): void {
    nameConnection(socket, peer, peers);
    injector.injectConnection(socket);
  }

  return {
    enter(socket, peer, timeoutMs) {
      if (identity === undefined) {
        inject(socket, peer);
        return;
      }
      greetClient(
        identity,
        socket,
        timeoutMs,
        (secured, greeting) => {
          if ("peer" in greeting) inject(secured, identified(peer, greeting.peer));
          else if (strangersWelcome && !greeting.showedAny) inject(secured, peer);
          else {
            log.warn(`refused a client: ${greeting.refused.details}`, {
              audit: "authentication",
              code: "UNAUTHENTICATED",
              peer: describePeer(peer),
            });
            turnAway(secured);
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
      injector.destroy();
    },
  };
}

function identified(peer: NetworkPeer, identity: PeerIdentity): NetworkPeer {
  return { ...peer, spiffeId: identity.spiffeId, identity };
}

let connections = 0;

/**
 * gRPC names a connection by its remote address. A unix socket has none, and one behind TLS hides it, so they get a name
 * of ours.
 */
function nameConnection(socket: Socket, peer: NetworkPeer, peers: Map<string, Peer>): void {
  if (peer.kind === "tcp" && peer.identity === undefined) return;
  const name = `${peer.kind}#${++connections}`;
  peers.set(name, peer);
  socket.once("close", () => peers.delete(name));
  Object.defineProperty(socket, "remoteAddress", { value: name });
  Object.defineProperty(socket, "remotePort", { value: undefined });
}
