/** Claims of tokens, read once: a token is looked at by every rule, and comes again with every call of its maker. */
import { readClaims, type TokenClaims } from "../identity/tokens.js";

const maxRemembered = 10_000;
export interface ReadClaims extends TokenClaims {
  /** When it begins, in seconds since the epoch (nbf and iat, RFC 7519 §4.1.5–4.1.6); 0 = it does not say. */
  readonly startS: number;
}

/** In the order of their first sight. */
const known = new Map<string, ReadClaims>();

/** As `readClaims`. */
export function claimsOf(token: string): ReadClaims | undefined {
  const found = known.get(token);
  if (found !== undefined) return found;
  const plain = readClaims(token);
  if (plain === undefined) return undefined;
  const claims = { ...plain, startS: startOf(token) };
  if (known.size >= maxRemembered) {
    const [oldest = ""] = known.keys();
    known.delete(oldest);
  }
  known.set(token, claims);
  return claims;
}

function startOf(token: string): number {
  const { nbf, iat } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8")) as Record<
    string,
    unknown
  >;
  // no time beyond the range of Date
  return Math.min(8.64e12, Math.max(numberOf(nbf), numberOf(iat)));
}

function numberOf(claim: unknown): number {
  return typeof claim === "number" ? claim : 0;
}
