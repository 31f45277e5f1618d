/** TLS of our choice under a client of grpc-js, for tests. */
import type { Socket } from "node:net";
import { type CallCredentials, ChannelCredentials, credentials as callCredentials } from "@grpc/grpc-js";

/** Credentials of a channel, over whatever makes a socket secure. */
export function credentialsOver(secure: (socket: Socket) => Promise<Socket>): ChannelCredentials {
  return new SpiffeCredentials(secure);
}

/**
 * gRPC asks credentials for a secure connection over a socket. Its own kind binds one certificate for ever and lets OpenSSL
 * judge the server, so this is one of ours; a class, because gRPC checks for its base.
 */
class SpiffeCredentials extends ChannelCredentials {
  readonly #secure: (socket: Socket) => Promise<Socket>;
  constructor(secure: (socket: Socket) => Promise<Socket>) {
    super();
    this.#secure = secure;
  }
  override compose(): ChannelCredentials {
    throw new Error("tokens are headers of each call here, not call credentials");
  }
  _isSecure(): boolean {
    return true;
  }
  _equals(other: ChannelCredentials): boolean {
    return other === this;
  }
  _createSecureConnector(_target: unknown, _options: unknown, composed?: CallCredentials) {
    const calls = composed ?? callCredentials.createEmpty();
    const pending = new Set<Socket>();
    return {
      connect: async (socket: Socket) => {
        pending.add(socket);
        try {
          return { socket: await this.#secure(socket), secure: true };
        } finally {
          pending.delete(socket);
        }
      },
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => calls,
      // gRPC forgets a handshake that takes too long; its socket would stay for ever
      destroy() {
        for (const socket of pending) socket.destroy();
      },
    };
  }
}
