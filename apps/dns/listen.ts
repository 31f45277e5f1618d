/** Where queries of a pod arrive: a UDP and a TCP port on its loopback for each of its name servers. */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIPv6, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { boundSocket } from "../../sdk/linux/inet-socket.js";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import type { Transport } from "./ask.js";
import { createUnframer, framed } from "./tcp-frames.js";

/** An address of loopback that nobody else uses, so that answers from it are ours. IPv6 has one address only. */
export const loopback4 = "127.53.0.1";
const loopback6 = "::1";

export interface Listener {
  /** The pod's name server whose queries come here. */
  readonly server: string;
  readonly address: string;
  readonly udpPort: number;
  readonly tcpPort: number;
  close(): void;
}

export type Answer = (query: Buffer, server: string, transport: Transport) => Promise<Buffer | undefined>;

const maxConnections = 32;
const idleMs = 10_000;
const maxUnsentBytes = 512 * 1024;
/** Of one client, and of all together: rules cannot limit what comes in a connection. */
const atOnce = 8;
const tcpQueriesPerSecond = 500;

/** @throws SystemError  the namespace has no loopback, or no IPv6 */
export async function listenFor(netns: Pick<NetnsHandle, "fd" | "ino">, server: string, answer: Answer): Promise<Listener> {
  const address = isIPv6(server) ? loopback6 : loopback4;
  const udp = listenUdp(netns, address, (query) => answer(query, server, "udp"));
  try {
    const tcp = await listenTcp(netns, address, (query) => answer(query, server, "tcp"));
    return {
      server,
      address,
      udpPort: udp.port,
      tcpPort: tcp.port,
      close() {
        udp.close();
        tcp.close();
      },
    };
  } catch (error) {
    udp.close();
    throw error;
  }
}

type One = (query: Buffer) => Promise<Buffer | undefined>;
interface Open {
  readonly port: number;
  close(): void;
}

function listenUdp(netns: Pick<NetnsHandle, "fd" | "ino">, address: string, answer: One): Open {
  const { fd, port } = boundSocket(netns, "udp", address, 0);
  const socket: UdpSocket = createSocket(isIPv6(address) ? "udp6" : "udp4");
  let open = true;
  socket.on("error", () => {}); // of one datagram that could not be sent; its client asks again
  socket.on("message", (query, from) => {
    void answer(query).then((bytes) => {
      if (bytes !== undefined && open) socket.send(bytes, from.port, from.address, () => {});
    });
  });
  socket.bind({ fd }); // is listening at once
  return {
    port,
    close() {
      open = false;
      socket.close();
    },
  };
}

async function listenTcp(netns: Pick<NetnsHandle, "fd" | "ino">, address: string, answer: One): Promise<Open> {
  const { fd, port } = boundSocket(netns, "tcp", address, 0);
  const clients = new Set<Socket>();
  const turn = createPace(tcpQueriesPerSecond);
  const server: Server = createServer((socket) => {
    clients.add(socket);
    socket.on("close", () => clients.delete(socket));
    socket.on("error", () => {});
    socket.setTimeout(idleMs, () => socket.destroy());
    serveConnection(socket, async (query) => {
      await turn();
      return await answer(query);
    });
  });
  server.maxConnections = maxConnections;
  server.listen({ fd });
  await once(server, "listening");
  return {
    port,
    close() {
      server.close();
      for (const client of clients) client.destroy();
    },
  };
}

/** Nothing more is read of a client until all that it has asked is answered, a few at a time. */
function serveConnection(socket: Socket, answer: One): void {
  const queue: Buffer[] = [];
  let busy = false;
  async function drain(): Promise<void> {
    busy = true;
    socket.pause();
    while (queue.length > 0 && socket.writable) {
      await Promise.all(
        queue.splice(0, atOnce).map(async (query) => {
          const bytes = await answer(query);
          if (bytes === undefined || socket.writableLength > maxUnsentBytes) socket.destroy();
          else if (socket.writable) socket.write(framed(bytes));
        }),
      );
    }
    busy = false;
    socket.resume();
  }
  const unframe = createUnframer((query) => void queue.push(Buffer.from(query)));
  socket.on("data", (piece) => {
    unframe(piece);
    if (queue.length > 0 && !busy) void drain();
  });
}

/** Resolves at once for a tenth of a second's share, then so many times a second. */
function createPace(perSecond: number): () => Promise<void> {
  let nextMs = 0;
  return async () => {
    const nowMs = performance.now();
    nextMs = Math.max(nextMs + 1_000 / perSecond, nowMs - 100);
    if (nextMs > nowMs) await delay(nextMs - nowMs);
  };
}
