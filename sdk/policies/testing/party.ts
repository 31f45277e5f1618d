/** Somebody with an identity, for tests of policies: no TLS, only what TLS would have shown. */
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { backgroundCall, type CallContext } from "../../chain.js";
import type { Token } from "../../elements/exchange-tokens.js";
import { mintToken } from "../../identity/tokens.js";
import { identityOf, type Peer } from "../../peer.js";

export interface Party {
  readonly spiffeId: string;
  readonly peer: Peer;
  /** A token of this party for another. */
  tokenFor(audience: { readonly spiffeId: string }, aheadMs?: number): string;
  /** Any claims on top of the usual ones, signed as they should be. */
  signed(audience: { readonly spiffeId: string }, claims: object): string;
  /** Any header, with any signature. */
  tokenOf(header: object, audience: { readonly spiffeId: string }, signature: string, claims?: object): string;
  /** The classic forgery: the public key as the secret of HS256. */
  hs256For(audience: { readonly spiffeId: string }): string;
  /** For servers. */
  mintToken(audience: Peer): Promise<Token>;
  /** A call of this party with that token in its headers. */
  call(token: string, headers?: Readonly<Record<string, string>>): CallContext;
}

const lifetimeMs = 60_000;

export function party(spiffeId: string): Party {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const certificatePem = publicKey.export({ type: "spki", format: "pem" }).toString();
  const startMs = Date.now();
  const identity = { spiffeId, certificatePem, publicKey, notAfterMs: startMs + 3_600_000 };
  const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claimsFor = (aud: string) => ({ sub: spiffeId, aud: [aud], exp: Math.floor((startMs + lifetimeMs) / 1000) });
  const made = new Map<string, string>();
  const self: Party = {
    spiffeId,
    peer: { kind: "tcp", address: "192.0.2.1:4711", spiffeId, identity },
    tokenFor(audience, aheadMs = lifetimeMs) {
      const key = `${audience.spiffeId} ${aheadMs}`;
      const token =
        made.get(key) ?? mintToken({ sub: spiffeId, aud: audience.spiffeId, expiresMs: startMs + aheadMs, privateKey });
      made.set(key, token);
      return token;
    },
    signed(audience, claims) {
      const text = `${encoded({ alg: "ES256", typ: "JWT" })}.${encoded({ ...claimsFor(audience.spiffeId), ...claims })}`;
      const signature = sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" });
      return `${text}.${signature.toString("base64url")}`;
    },
    tokenOf: (header, audience, signature, claims = {}) =>
      `${encoded(header)}.${encoded({ ...claimsFor(audience.spiffeId), ...claims })}.${signature}`,
    hs256For(audience) {
      const signed = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded(claimsFor(audience.spiffeId))}`;
      return `${signed}.${createHmac("sha256", certificatePem).update(signed).digest("base64url")}`;
    },
    async mintToken(audience) {
      const token = self.tokenFor({ spiffeId: identityOf(audience)?.spiffeId ?? "" });
      return { token, expiresMs: startMs + lifetimeMs };
    },
    call(token, headers = {}) {
      const all: Record<string, string> = { ...headers };
      if (token !== "") {
        all["nsm-client-token"] = token;
        all["nsm-client-token-expires"] = new Date(startMs + lifetimeMs).toISOString();
      }
      const metadata = (name: string): readonly string[] => (Object.hasOwn(all, name) ? [all[name] ?? ""] : []);
      return { ...backgroundCall(new AbortController().signal), peer: self.peer, metadata };
    },
  };
  return self;
}
