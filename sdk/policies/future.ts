/**
 * Refuses tokens that are not valid yet (claims nbf and iat, RFC 7519 §4.1.5–4.1.6). NSM's own tokens have neither, and its
 * policies do not look at them; a caller whose token has one is taken at its word.
 */
import type { Audit } from "./audit.js";
import { claimsOf } from "./claims.js";
import { noPrivileges, type Question } from "./policy.js";

/** Clocks of other machines may be ahead. */
const leewayS = 60;

/** @throws PERMISSION_DENIED */
export function refuseFuture(question: Question, audit: Audit, nowMs = Date.now()): void {
  const { input } = question;
  if ("selected" in input) return;
  for (const { token } of input.segments) {
    const startS = claimsOf(token)?.startS ?? 0;
    if (startS <= nowMs / 1000 + leewayS) continue;
    const reason = `a token is not valid before ${new Date(startS * 1000).toISOString()}; are the clocks right?`;
    audit({ ...question, policy: "tokens not from the future", reason });
    throw noPrivileges();
  }
}
