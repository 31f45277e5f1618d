/**
 * The tokens of a path: JWTs (RFC 7519) signed with ES256 (RFC 7518 §3.4) by the key of an X.509-SVID.
 * Header {"alg":"ES256","typ":"JWT"}; claims sub, aud (an array of one), exp. Source: behaviour of NSM's spiffejwt.
 */
import { createHash, type KeyObject, sign, verify } from "node:crypto";

export interface TokenClaims {
  /** SPIFFE ID of who made it. */
  readonly sub: string;
  /** For whom; empty when the claim is absent. */
  readonly aud: readonly string[];
  /** Whole seconds since the epoch; undefined when the claim is absent. */
  readonly expS: number | undefined;
}

export interface MintInput {
  readonly sub: string;
  /** Undefined = the peer has no identity, and the claim is left out. */
  readonly aud: string | undefined;
  readonly expiresMs: number;
  readonly privateKey: KeyObject;
}

const header = Buffer.from('{"alg":"ES256","typ":"JWT"}').toString("base64url");
/** Longer than any token; a bound on the work a stranger can cause. */
const maxTokenBytes = 8192;

export function mintToken({ sub, aud, expiresMs, privateKey }: MintInput): string {
  const claims = { sub, ...(aud === undefined ? {} : { aud: [aud] }), exp: Math.floor(expiresMs / 1000) };
  const signed = `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  const signature = sign("sha256", Buffer.from(signed), { key: privateKey, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

/** The claims of a token whose signature nobody has checked; undefined when it is no JWT. Never throws. */
export function readClaims(token: string): TokenClaims | undefined {
  if (token.length > maxTokenBytes) return undefined;
  const parts = token.split(".");
  if (parts.length !== 3 || !isBase64url(parts[2] ?? "")) return undefined;
  const head = jsonObject(parts[0]);
  const claims = jsonObject(parts[1]);
  if (head === undefined || claims === undefined || typeof head["alg"] !== "string") return undefined;
  const { sub, aud, exp } = claims;
  return {
    sub: typeof sub === "string" ? sub : "",
    aud: Array.isArray(aud) && aud.every((one) => typeof one === "string") ? aud : [],
    expS: typeof exp === "number" && Number.isFinite(exp) ? exp : undefined,
  };
}

/** Verifies signatures; what has been verified once is remembered until the token expires. */
export interface TokenVerifier {
  /** Is it an ES256 token signed by the key of this certificate? Expiry and audience are other questions. */
  isSignedBy(token: string, publicKey: KeyObject): boolean;
}

export function createTokenVerifier(options: { readonly nowMs: () => number; readonly maxRemembered?: number }): TokenVerifier {
  const { nowMs, maxRemembered = 20_000 } = options;
  const verified = new Map<string, number>();
  /** Of each key: exporting one takes longer than all the rest. */
  const ids = new WeakMap<KeyObject, string>();
  const idOf = (key: KeyObject): string => {
    let id = ids.get(key);
    if (id === undefined) {
      id = createHash("sha256")
        .update(key.export({ type: "spki", format: "der" }))
        .digest("base64");
      ids.set(key, id);
    }
    return id;
  };
  return {
    isSignedBy(token, publicKey) {
      const key = `${idOf(publicKey)} ${token}`;
      const untilMs = verified.get(key);
      if (untilMs !== undefined && untilMs > nowMs()) return true;
      const claims = readClaims(token);
      if (claims === undefined) return false;
      if (!signatureHolds(token, publicKey)) return false;
      const expiresMs = (claims.expS ?? 0) * 1000;
      if (expiresMs > nowMs()) {
        const oldest = verified.keys().next().value;
        if (verified.size >= maxRemembered && oldest !== undefined) verified.delete(oldest);
        verified.set(key, expiresMs);
      }
      return true;
    },
  };
}

function signatureHolds(token: string, publicKey: KeyObject): boolean {
  const [head, body, signature] = token.split(".");
  // Only ES256: "none", HS256 with the public key as secret and every other algorithm are refused by not being tried.
  if (jsonObject(head)?.["alg"] !== "ES256" || publicKey.asymmetricKeyType !== "ec") return false;
  if (publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") return false;
  const bytes = Buffer.from(signature ?? "", "base64url");
  if (bytes.length !== 64) return false;
  return verify("sha256", Buffer.from(`${head}.${body}`), { key: publicKey, dsaEncoding: "ieee-p1363" }, bytes);
}

function jsonObject(part: string | undefined): Record<string, unknown> | undefined {
  if (part === undefined || !isBase64url(part)) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Buffer skips what is no base64url; other verifiers (Go, OPA) refuse it. */
function isBase64url(part: string): boolean {
  return part.length % 4 !== 1 && /^[A-Za-z0-9_-]*$/.test(part);
}
