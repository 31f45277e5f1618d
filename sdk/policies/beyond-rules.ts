/**
 * What is demanded of tokens beyond NSM's rules, wherever any rule is in force.
 * A token of the peer's own key that names somebody else: NSM's rules check the signature and the chain, not that the key
 * is the name's, so any workload could make or end connections in another's name.
 * A token that is not valid yet (claims nbf and iat, RFC 7519 §4.1.5–4.1.6): NSM's own have neither; a caller whose token
 * has one is taken at its word.
 */
import { identityOf, type PeerIdentity } from "../peer.js";
import type { Audit } from "./audit.js";
import { claimsOf } from "./claims.js";
import type { PathInput } from "./input.js";
import { noPrivileges, type PolicySource, type Question } from "./policy.js";

/** Clocks of other machines may be ahead. */
const leewayS = 60;

/** @throws PERMISSION_DENIED */
export function askBeyond(source: PolicySource, question: Question, audit: Audit, nowMs = Date.now()): void {
  const { input } = question;
  if ("selected" in input || source.current().length === 0) return;
  const refuse = (policy: string, reason: string): never => {
    audit({ ...question, policy, reason });
    throw noPrivileges();
  };
  const foreign = foreignName(input.segments[input.index - 1]?.token, identityOf(question.peer));
  if (foreign !== undefined) refuse("own name", foreign);
  for (const { token } of input.segments) {
    const startS = claimsOf(token)?.startS ?? 0;
    if (startS <= nowMs / 1000 + leewayS) continue;
    refuse(
      "tokens not from the future",
      `a token is not valid before ${new Date(startS * 1000).toISOString()}; are the clocks right?`,
    );
  }
}

/** Why an answer of a server is not to be believed. */
export function foreignAnswer({ segments, index }: PathInput, server: PeerIdentity | undefined): string | undefined {
  return foreignName(segments[index + 1]?.token, server);
}

/** A token that is none is for the rules. */
function foreignName(token: string | undefined, peer: PeerIdentity | undefined): string | undefined {
  const claims = token === undefined ? undefined : claimsOf(token);
  if (claims === undefined || peer === undefined || claims.sub === peer.spiffeId) return undefined;
  return `the peer "${peer.spiffeId}" shows a token in the name of "${claims.sub}"`;
}
