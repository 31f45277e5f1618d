/**
 * The identity of a process as its servers and clients use it: the newest SVID, and tokens signed with it.
 * Tokens: behaviour of NSM's spiffejwt; see tokens.ts for their form.
 */
import type { Clock } from "../clock.js";
import type { Token } from "../elements/exchange-tokens.js";
import { identityOf, type Peer, type PeerIdentity } from "../peer.js";
import type { IdentitySource } from "./source.js";
import type { X509Svid } from "./svid.js";
import { mintToken } from "./tokens.js";

/** The X.509-SVID of this process, renewed while it runs, and the tokens made with it. */
export interface Identity extends IdentitySource {
  /** Our token for the caller of a connection that we serve. */
  mintToken(audience: Peer): Promise<Token>;
  /**
   * Our token for the other end of a connection.
   * @param svid  the one that this connection was made with: its key is what the other end knows
   */
  tokenFor(peer: PeerIdentity | undefined, svid: X509Svid): Token;
  /** Remembers which SVID a connection was made with. */
  showed(peer: PeerIdentity, svid: X509Svid): void;
}

export interface TokenSettings {
  readonly clock: Clock;
  /** Longest life of a token, in milliseconds. */
  readonly maxTokenLifetimeMs: number;
}

/** A token is used again until a fifth of its life is over: a request made with it lasts nearly as long as with a new one. */
const reuse = 0.8;
const maxRemembered = 4096;

export function identityOver(source: IdentitySource, { clock, maxTokenLifetimeMs }: TokenSettings): Identity {
  const shown = new WeakMap<PeerIdentity, X509Svid>();
  const made = new Map<string, Token & { readonly untilMs: number }>();
  source.onChange(() => made.clear());

  function tokenFor(peer: PeerIdentity | undefined, svid: X509Svid): Token {
    const nowMs = clock.nowMs();
    const key = `${svid.certificates[0]?.fingerprint256} ${peer?.spiffeId ?? ""}`;
    let token = made.get(key);
    if (token === undefined || token.untilMs <= nowMs) {
      // the claim leaves the peer's certificate out: one token serves all connections to it
      const expiresMs = Math.min(nowMs + maxTokenLifetimeMs, svid.notAfterMs);
      const text = mintToken({ sub: svid.id.id, aud: peer?.spiffeId, expiresMs, privateKey: svid.privateKey });
      token = { token: text, expiresMs, untilMs: nowMs + (expiresMs - nowMs) * (1 - reuse) };
      if (made.size >= maxRemembered) made.clear();
      made.set(key, token);
    }
    return { token: token.token, expiresMs: Math.min(token.expiresMs, peer?.notAfterMs ?? token.expiresMs) };
  }

  return {
    current: () => source.current(),
    onChange: (listener) => source.onChange(listener),
    close: () => source.close(),
    tokenFor,
    showed: (peer, svid) => void shown.set(peer, svid),
    async mintToken(audience) {
      const peer = identityOf(audience);
      return tokenFor(peer, (peer && shown.get(peer)) ?? source.current());
    },
  };
}
