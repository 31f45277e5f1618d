/**
 * Answers a client whose identity was refused: every call of it ends with UNAUTHENTICATED, without a reason (that is in
 * our log), and the connection goes soon. Nothing it sends reaches a chain.
 */
import type { Duplex } from "node:stream";
import type { Peer } from "../peer.js";
import { Code } from "../status.js";
import { createGrpcServer } from "./h2/server.js";

/** Time for such a client to send its first calls and hear the answer. */
const patienceMs = 5_000;

export type TurnAway = (secured: Duplex, peer: Peer) => void;

export function createTurnAway(): TurnAway {
  const server = createGrpcServer({
    methods: new Map(),
    refuseAll: { code: Code.UNAUTHENTICATED, details: "no valid identity was shown" },
    maxMessageBytes: 0,
    maxStreamsPerConnection: 8,
  });
  return (secured, peer) => {
    const timer = setTimeout(() => secured.destroy(), patienceMs);
    secured.once("close", () => clearTimeout(timer));
    server.serve(secured, peer);
  };
}
