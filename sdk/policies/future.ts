/**
 * Refuses tokens that are not valid yet (claims nbf and iat, RFC 7519 §4.1.5–4.1.6). NSM's own tokens have neither, and its
 * policies do not look at them; a caller whose token has one is taken at its word.
 */
import type { Audit } from "./audit.js";
import { noPrivileges, type Question } from "./policy.js";

/** Clocks of other machines may be ahead. */
const leewayS = 60;

/** @throws PERMISSION_DENIED */
export function refuseFuture(question: Question, audit: Audit, nowMs = Date.now()): void {
  const { input } = question;
  if ("selected" in input) return;
  for (const { token } of input.segments) {
    const startS = startOf(token);
    if (startS <= nowMs / 1000 + leewayS) continue;
    const reason = `a token is not valid before ${new Date(startS * 1000).toISOString()}; are the clocks right?`;
    audit({ ...question, policy: "tokens not from the future", reason });
    throw noPrivileges();
  }
}

/** Seconds since the epoch; 0 = no such claim. Whether it is a token at all is another policy's question. */
function startOf(token: string): number {
  const claims = Buffer.from(token.split(".")[1] ?? "", "base64url").toString("latin1");
  // most tokens have neither, and JSON costs more than a look
  if (!claims.includes('"nbf"') && !claims.includes('"iat"')) return 0;
  try {
    const { nbf, iat } = JSON.parse(claims) as { nbf?: unknown; iat?: unknown };
    // no date beyond the range of Date
    return Math.min(8.64e12, Math.max(numberOf(nbf), numberOf(iat)));
  } catch {
    return 0;
  }
}

function numberOf(claim: unknown): number {
  return typeof claim === "number" ? claim : 0;
}
