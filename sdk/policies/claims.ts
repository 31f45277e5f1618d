/** Claims of tokens, read once: a token is looked at by every rule, and comes again with every call of its maker. */
import { readClaims, type TokenClaims } from "../identity/tokens.js";

const maxRemembered = 10_000;
/** In the order of their first sight. */
const known = new Map<string, TokenClaims>();

/** As `readClaims`. */
export function claimsOf(token: string): TokenClaims | undefined {
  const found = known.get(token);
  if (found !== undefined) return found;
  const claims = readClaims(token);
  if (claims === undefined) return undefined;
  if (known.size >= maxRemembered) {
    const [oldest = ""] = known.keys();
    known.delete(oldest);
  }
  known.set(token, claims);
  return claims;
}
