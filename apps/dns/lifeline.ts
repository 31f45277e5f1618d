/**
 * A TCP connection of this process to itself, in a pod's namespace, by which the rules there know that it lives: the byte
 * that it writes now and then keeps them in force, and the FIN that the kernel sends for a process that ends, however it
 * ends, takes them out of force at once. A process that hangs writes nothing, and the rules lapse.
 */

import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";
import { boundSocket, connectedSocket } from "../../sdk/linux/inet-socket.js";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import { loopback4 } from "./listen.js";

export interface Lifeline {
  /** Heartbeats come from this TCP port of `loopback4`. */
  readonly port: number;
  /** One heartbeat now. */
  beat(): void;
  close(): void;
}

/** Four beats may be late before the rules lapse (`lapseMs` of divert.ts). */
const beatMs = 500;

export async function openLifeline(netns: Pick<NetnsHandle, "fd" | "ino">): Promise<Lifeline> {
  const { fd, port } = boundSocket(netns, "tcp", loopback4, 0);
  const server: Server = createServer();
  server.listen({ fd });
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const far = new Socket({ fd: connectedSocket(netns, "tcp", loopback4, port, {}), readable: true, writable: true });
  far.on("error", () => {});
  far.resume();
  const [near] = await accepted;
  server.close(); // nobody else may come
  near.on("error", () => {});
  near.setNoDelay(true);
  const beat = (): void => void near.write("\0");
  const timer = setInterval(beat, beatMs);
  return {
    port,
    beat,
    close() {
      clearInterval(timer);
      near.destroy();
      far.destroy();
    },
  };
}
