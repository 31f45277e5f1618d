/**
 * The client's side of connections that pass descriptors. gRPC lets credentials put something between a connected socket
 * and HTTP/2; that is where the socket is swapped, under TLS if there is any.
 */
import type { Socket } from "node:net";
import { type CallCredentials, ChannelCredentials } from "@grpc/grpc-js";
import type { Descriptors } from "../../peer.js";
import { unixPeer } from "../unix-peer.js";
import { mustPass, type PassDescriptors, takeOver } from "./take-over.js";

/** The way to one unix socket, for one pooled connection and those that replace it. */
export interface UnixChannel {
  readonly credentials: ChannelCredentials;
  /** Of the newest connection; undefined = it passes none. */
  descriptors(): Descriptors | undefined;
}

/** @param over  credentials of the connection itself: TLS or none */
export function unixChannel(over: ChannelCredentials, when: PassDescriptors): UnixChannel {
  let current: Descriptors | undefined;
  const swap = (socket: Socket): Socket => {
    current = undefined;
    const peer = unixPeer(socket);
    if (peer.kind !== "unix" || !mustPass(when, peer.pid)) return socket;
    const taken = takeOver(socket);
    current = taken.descriptors;
    return taken.socket;
  };
  return { credentials: new UnixCredentials(over, swap), descriptors: () => current };
}

type Connector = ReturnType<ChannelCredentials["_createSecureConnector"]>;

/** A class, because gRPC checks for its base. */
class UnixCredentials extends ChannelCredentials {
  readonly #over: ChannelCredentials;
  readonly #swap: (socket: Socket) => Socket;
  constructor(over: ChannelCredentials, swap: (socket: Socket) => Socket) {
    super();
    this.#over = over;
    this.#swap = swap;
  }
  _isSecure(): boolean {
    return this.#over._isSecure();
  }
  _equals(other: ChannelCredentials): boolean {
    return other === this;
  }
  _createSecureConnector(...how: Parameters<ChannelCredentials["_createSecureConnector"]>): Connector {
    const inner = this.#over._createSecureConnector(...how);
    return {
      connect: async (socket) => inner.connect(this.#swap(socket)),
      waitForReady: () => inner.waitForReady(),
      getCallCredentials: (): CallCredentials => inner.getCallCredentials(),
      destroy: () => inner.destroy(),
    };
  }
}
