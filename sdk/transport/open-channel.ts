/** From an address to a connection that takes calls: socket, descriptors, TLS, HTTP/2, in this order. */
import { connect, type Socket } from "node:net";
import type { Identity } from "../identity/identity.js";
import type { Descriptors } from "../peer.js";
import { Code, type StatusError, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { type Address, formatAddress } from "./address.js";
import { mustPass, type PassDescriptors, takeOver } from "./descriptors/take-over.js";
import { type ClientConnection, openConnection } from "./h2/client.js";
import { type ChannelTls, channelTls } from "./tls.js";
import { unixPeer } from "./unix-peer.js";

export interface OpenOptions {
  /** Absent = plain text. */
  readonly identity?: Identity | undefined;
  /** How a connection is made secure; default: by the identity. */
  readonly tls?: ChannelTls | undefined;
  /** Hears of servers that are not trusted. */
  readonly log: Log;
  readonly maxMessageBytes: number;
  /** Time for a connection to become usable; after it the call fails with UNAVAILABLE. */
  readonly dialTimeoutMs: number;
  readonly passDescriptors: PassDescriptors;
  /** It takes no further calls. */
  readonly onGone: () => void;
}

export interface OpenChannel {
  readonly connection: ClientConnection;
  /** Undefined without an identity. */
  readonly tls: ChannelTls | undefined;
  /** Undefined where the connection passes none. */
  readonly descriptors: Descriptors | undefined;
}

/** @throws UNAVAILABLE naming the address: nobody answers in time, or who answers is not trusted */
export async function openChannel(address: Address, options: OpenOptions): Promise<OpenChannel> {
  const url = formatAddress(address);
  const { identity, log, dialTimeoutMs } = options;
  const tls =
    identity === undefined
      ? options.tls
      : channelTls(identity, (why) =>
          log.warn(`refused a server: ${why.details}`, { audit: "authentication", code: "UNAUTHENTICATED", url }),
        );
  let current: Socket | undefined;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    current?.destroy();
  }, dialTimeoutMs);
  try {
    const near = await reach(address, options.passDescriptors, (socket) => {
      current = socket;
    });
    current = near.socket;
    const secured = tls === undefined ? near.socket : await tls.secure(near.socket);
    current = secured;
    const connection = await greet(secured, address, options, tls !== undefined);
    return { connection, tls, descriptors: near.descriptors };
  } catch (error) {
    current?.destroy();
    const why = late ? `no answer within ${dialTimeoutMs} ms` : "nobody answers";
    throw unreachable(url, tls, why, error);
  } finally {
    clearTimeout(timer);
  }
}

interface Near {
  readonly socket: Socket;
  readonly descriptors: Descriptors | undefined;
}

function reach(address: Address, when: PassDescriptors, begun: (socket: Socket) => void): Promise<Near> {
  return new Promise((resolve, reject) => {
    const place = address.kind === "unix" ? { path: address.path } : { host: address.host || "127.0.0.1", port: address.port };
    const socket = connect(place as { port: number });
    begun(socket);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the connection was closed")));
    socket.once("connect", () => {
      if (address.kind === "tcp") socket.setNoDelay(true);
      try {
        resolve(withDescriptors(socket, address, when));
      } catch (error) {
        reject(error);
      }
    });
  });
}

/** The socket is swapped in the tick in which it was connected: what is read before is read without its descriptors. */
function withDescriptors(socket: Socket, address: Address, when: PassDescriptors): Near {
  const peer = address.kind === "unix" ? unixPeer(socket) : undefined;
  if (peer?.kind !== "unix" || !mustPass(when, peer.pid)) return { socket, descriptors: undefined };
  return takeOver(socket);
}

/** HTTP/2 on it; resolves when the other end has spoken. */
function greet(socket: Socket, address: Address, options: OpenOptions, secure: boolean): Promise<ClientConnection> {
  return new Promise((resolve, reject) => {
    let open = false;
    const connection = openConnection({
      socket,
      secure,
      authority: address.kind === "unix" ? "localhost" : formatAddress(address).slice("tcp://".length),
      maxMessageBytes: options.maxMessageBytes,
      onReady() {
        open = true;
        resolve(connection);
      },
      onGone() {
        if (open) options.onGone();
        else reject(new Error("the connection was closed"));
      },
    });
  });
}

function unreachable(url: string, tls: ChannelTls | undefined, why: string, cause: unknown): StatusError {
  const refusal = tls?.failure();
  if (refusal !== undefined) return statusError(refusal.code, `${url}: ${refusal.details}`, refusal.cause);
  return statusError(Code.UNAVAILABLE, `cannot reach ${url}: ${why}; is the process running?`, cause);
}
