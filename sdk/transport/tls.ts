/**
 * Mutual TLS of servers and clients: ALPN h2, TLS 1.2 or newer, both sides show an X.509-SVID and check the other's
 * against the bundle of its trust domain (sdk/identity/verify-peer.ts). Host names mean nothing here.
 * A handshake takes the newest SVID; connections made before stay as they are.
 */
import { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import type { DetailedPeerCertificate, SecureContext, TLSSocket } from "node:tls";
import { builtin } from "../builtin.js";
import type { Identity } from "../identity/identity.js";
import type { X509Svid } from "../identity/svid.js";
import { verifyPeer } from "../identity/verify-peer.js";
import type { PeerIdentity } from "../peer.js";
import { Code, type StatusError, statusError, toStatusError } from "../status.js";

/** What is demanded of every handshake; the certificates are checked by us, not by OpenSSL, which knows no SPIFFE. */
export const handshake = { requestCert: true, rejectUnauthorized: false, ALPNProtocols: ["h2"], minVersion: "TLSv1.2" } as const;

/** One certificate more than a chain may have: enough to see that it is too long. */
const maxRead = 9;

/** What came of a handshake that the other end completed. */
export type Greeting =
  | { readonly peer: PeerIdentity }
  | {
      readonly refused: StatusError;
      /** Whether there was any certificate at all. */
      readonly showedAny: boolean;
    };

/**
 * Runs the server's side of a handshake. `done` is called in the tick in which the connection becomes usable, so that no
 * byte is lost; never, when there is no TLS with this client: then the socket is closed and `failed` called with why.
 */
export function greetClient(
  identity: Identity,
  socket: Socket,
  timeoutMs: number,
  done: (secured: TLSSocket, greeting: Greeting) => void,
  failed: (why: StatusError) => void,
): void {
  const svid = identity.current();
  // A server for one connection: the only public way to know which secured connection came of which socket.
  const server = builtin("node:tls").createServer({ ...handshake, ...keyAndCertificateOf(svid), handshakeTimeout: timeoutMs });
  let over = false;
  const fail = (error?: Error): void => {
    if (over) return;
    over = true;
    socket.destroy();
    failed(statusError(Code.UNAUTHENTICATED, "no TLS with this client; does it run without an identity?", error));
  };
  server.once("tlsClientError", fail);
  socket.once("close", () => fail());
  server.once("secureConnection", (secured) => {
    if (over) return;
    over = true;
    done(secured, greetingOf(secured, identity, svid));
  });
  server.emit("connection", socket);
}

/** The client's side, for one pooled connection. */
export interface ChannelTls {
  /** @throws UNAVAILABLE no TLS with this server, or it is not trusted */
  secure(socket: Socket): Promise<Socket>;
  /** Of the newest handshake: who answered it, and the SVID that we showed. */
  current(): { readonly peer: PeerIdentity; readonly svid: X509Svid } | undefined;
  /** Why the last handshake failed; undefined after a good one. */
  failure(): StatusError | undefined;
  /** Whether new calls should go over a new connection: ours has been renewed since, or the server's has ended. */
  stale(nowMs: number): boolean;
}

/** @param onRefused  hears why a server was not trusted */
export function channelTls(identity: Identity, onRefused: (why: StatusError) => void): ChannelTls {
  let current: { peer: PeerIdentity; svid: X509Svid } | undefined;
  let failure: StatusError | undefined;
  const secure = async (socket: Socket): Promise<Socket> => {
    const svid = identity.current();
    try {
      const { secured, greeting } = await greetServer(identity, svid, socket);
      if ("refused" in greeting) {
        secured.destroy();
        onRefused(greeting.refused);
        // Not UNAUTHENTICATED: that says that the caller is not known. And the reason stays here, for this status may travel
        // on to whoever asked us.
        throw statusError(Code.UNAVAILABLE, "the server has no valid identity", greeting.refused);
      }
      current = { peer: greeting.peer, svid };
      failure = undefined;
      return secured;
    } catch (error) {
      failure = toStatusError(error);
      throw error;
    }
  };
  return {
    secure,
    current: () => current,
    failure: () => failure,
    stale: (nowMs) => current !== undefined && (current.svid !== identity.current() || current.peer.notAfterMs <= nowMs),
  };
}

function greetServer(
  identity: Identity,
  svid: X509Svid,
  socket: Socket,
): Promise<{ readonly secured: TLSSocket; readonly greeting: Greeting }> {
  return new Promise((resolve, reject) => {
    const secured = builtin("node:tls").connect({ ...handshake, socket, secureContext: contextOf(svid) }, () =>
      resolve({ secured, greeting: greetingOf(secured, identity, svid) }),
    );
    secured.once("error", (error) =>
      reject(statusError(Code.UNAVAILABLE, "no TLS with this server; does it run without an identity?", error)),
    );
    // gRPC hears of later errors itself; before it listens one must not end the process
    secured.on("error", () => {});
    secured.once("close", () => reject(statusError(Code.UNAVAILABLE, "the server closed the connection during the handshake")));
  });
}

function greetingOf(secured: TLSSocket, identity: Identity, svid: X509Svid): Greeting {
  let showedAny = false;
  try {
    if (secured.alpnProtocol !== "h2") throw statusError(Code.UNAUTHENTICATED, "the peer does not speak h2 (ALPN)");
    const chain = chainOf(secured);
    showedAny = chain.length > 0;
    const { id } = verifyPeer(chain, identity.current().bundles, Date.now());
    const [leaf] = chain as [X509Certificate];
    if (leaf.publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
      const why = `the key of ${id} is ${leaf.publicKey.asymmetricKeyType}, not EC P-256: tokens signed with it mean nothing`;
      throw statusError(Code.UNAUTHENTICATED, why);
    }
    const peer: PeerIdentity = {
      spiffeId: id,
      certificatePem: leaf.toString(),
      publicKey: leaf.publicKey,
      notAfterMs: Date.parse(leaf.validTo),
    };
    identity.showed(peer, svid);
    return { peer };
  } catch (error) {
    const status = toStatusError(error);
    return { refused: statusError(Code.UNAUTHENTICATED, status.details, error), showedAny };
  }
}

/** The certificates that the other end showed, leaf first. */
export function chainOf(secured: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next: DetailedPeerCertificate | undefined = secured.getPeerCertificate(true);
  while (next?.raw !== undefined && chain.length < maxRead) {
    chain.push(new X509Certificate(next.raw));
    // the last one refers to itself
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate;
  }
  return chain;
}

const contexts = new WeakMap<X509Svid, SecureContext>();

/** For clients that show this SVID. */
export function contextOf(svid: X509Svid): SecureContext {
  let context = contexts.get(svid);
  if (context === undefined) {
    context = builtin("node:tls").createSecureContext({ ...keyAndCertificateOf(svid), minVersion: "TLSv1.2" });
    contexts.set(svid, context);
  }
  return context;
}

function keyAndCertificateOf(svid: X509Svid): { readonly key: string | Buffer; readonly cert: string } {
  return { key: svid.privateKey.export({ type: "pkcs8", format: "pem" }), cert: svid.certificates.map(String).join("") };
}
