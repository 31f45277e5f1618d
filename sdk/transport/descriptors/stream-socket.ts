/**
 * From a stream to something that HTTP/2, TLS and gRPC take for a socket.
 *
 * Node wraps any stream that it gets in place of a socket, in a class of net.Socket that it does not export; then the
 * wrapper is out of our reach, and gRPC reads the name of a connection from it. So we wrap the stream ourselves, with the
 * class as an HTTP/2 session shows it.
 */
import { Socket } from "node:net";
import { Duplex } from "node:stream";
import { builtin } from "../../builtin.js";

type StreamSocket = new (stream: Duplex) => Socket;

let known: StreamSocket | undefined;

/** @throws Error this Node has no such class */
export function socketOver(stream: Duplex): Socket {
  known ??= streamSocketClass();
  return new known(stream);
}

function streamSocketClass(): StreamSocket {
  const nowhere = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const session = builtin("node:http2").connect("http://localhost", { createConnection: () => nowhere });
  session.on("error", () => {});
  const found: unknown = Object.getPrototypeOf(session.socket)?.constructor;
  session.destroy();
  if (typeof found === "function" && found !== Socket && found.prototype instanceof Socket) return found as StreamSocket;
  throw new Error(`Node ${process.version} does not wrap streams as sockets`);
}
