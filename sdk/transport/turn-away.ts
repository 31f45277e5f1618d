/**
 * Answers a client whose identity was refused: every call of it ends with UNAUTHENTICATED, without a reason (that is in
 * our log), and the connection goes soon. Nothing it sends reaches a chain.
 */
import { createServer } from "node:http2";
import type { Duplex } from "node:stream";
import { Code } from "../status.js";

/** Time for such a client to send its first calls and hear the answer. */
const patienceMs = 5_000;

export type TurnAway = (secured: Duplex) => void;

export function createTurnAway(): TurnAway {
  const server = createServer({ settings: { maxConcurrentStreams: 8 }, maxSessionMemory: 1 });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond(
      {
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-status": String(Code.UNAUTHENTICATED),
        "grpc-message": "no valid identity was shown",
      },
      { endStream: true },
    );
  });
  server.on("sessionError", () => {});
  return (secured) => {
    const timer = setTimeout(() => secured.destroy(), patienceMs);
    secured.once("close", () => clearTimeout(timer));
    secured.on("error", () => secured.destroy());
    server.emit("connection", secured);
  };
}
