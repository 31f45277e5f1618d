/**
 * The seven built-in rules (pure). Their verdicts are those of the Rego texts in rego-reference/, which say the same to
 * OPA; rules.test.ts compares them. A rule answers why it refuses, for our log and not for the peer, or undefined = allowed.
 */
import type { KeyObject } from "node:crypto";
import type { TokenClaims } from "../identity/tokens.js";
import { claimsOf } from "./claims.js";
import type { MonitorInput, PathInput, ResourceInput } from "./input.js";

/** What rules need of the world. */
export interface RuleTools {
  readonly nowMs: () => number;
  /** Is it an ES256 token of this key? (identity/tokens.ts) */
  readonly isSignedBy: (token: string, publicKey: KeyObject) => boolean;
}

export type Rule<I> = (input: I, tools: RuleTools) => string | undefined;

/** Every token is a JWT. */
export const tokensValid: Rule<PathInput> = ({ segments }) => {
  const bad = segments.findIndex(({ token }) => claimsOf(token) === undefined);
  return bad < 0 ? undefined : `the token of ${place(segments, bad)} is no JWT`;
};

/** Every token ends in the future; no leeway. */
export const tokensExpired: Rule<PathInput> = ({ segments }, { nowMs }) => {
  for (const [index, { token }] of segments.entries()) {
    const claims = claimsOf(token);
    if (claims?.expS === undefined) return `the token of ${place(segments, index)} has no expiry`;
    if (claims.expS * 1000 <= nowMs()) {
      return `the token of ${place(segments, index)} expired ${Math.round(nowMs() / 1000 - claims.expS)} s ago; are the clocks right?`;
    }
  }
  return undefined;
};

/** Each token is made for whoever made the next one. */
export const tokensChained: Rule<PathInput> = ({ segments }) => {
  if (segments.length < 2) return undefined;
  const claims = segments.map(({ token }) => claimsOf(token));
  for (let index = 1; index < segments.length; index++) {
    const why = unchained(claims[index - 1], claims[index]);
    if (why !== undefined) return `${place(segments, index - 1)} and ${place(segments, index)} do not chain: ${why}`;
  }
  return undefined;
};

/** The token before ours is the caller's own. */
export const previousTokenSigned: Rule<PathInput> = ({ index, segments, peer }, tools) => {
  if (index < 1) return "the path begins here: the caller has not entered itself";
  return signedByPeer(segments, index - 1, peer, tools);
};

/** The token after ours is the server's own. */
export const nextTokenSigned: Rule<PathInput> = ({ index, segments, peer }, tools) =>
  signedByPeer(segments, index + 1, peer, tools);

/** A name belongs to the first identity of its entry. */
export const clientAllowed: Rule<ResourceInput> = ({ resource: { name, owner, currentPathIds } }) => {
  if (currentPathIds === undefined || currentPathIds[0] === owner) return undefined;
  return `"${name}" belongs to "${currentPathIds[0] ?? ""}", not to "${owner}"`;
};

/** Who monitors names connections, and at least one of them is their own. */
export const serviceConnection: Rule<MonitorInput> = ({ spiffeId, selected, own }) => {
  if (own === undefined) return `"${spiffeId}" has no connection here`;
  return selected.some((id) => own.includes(id)) ? undefined : `none of the connections asked for is one of "${spiffeId}"`;
};

function signedByPeer(
  segments: PathInput["segments"],
  index: number,
  peer: PathInput["peer"],
  { isSignedBy }: RuleTools,
): string | undefined {
  const token = segments[index]?.token;
  if (token === undefined) return `the path has no segment ${index}`;
  if (peer === undefined) return "the peer has shown no certificate";
  return isSignedBy(token, peer.publicKey) ? undefined : `the token of ${place(segments, index)} is not signed by the peer's key`;
}

function unchained(earlier: TokenClaims | undefined, later: TokenClaims | undefined): string | undefined {
  if (earlier === undefined || later === undefined) return "one has no token";
  if (later.sub === "") return "the later names nobody";
  return earlier.aud.includes(later.sub)
    ? undefined
    : `the earlier is for "${earlier.aud.join(", ")}", the later by "${later.sub}"`;
}

function place(segments: PathInput["segments"], index: number): string {
  const name = segments[index]?.name;
  return name ? `path segment ${index} (${name})` : `path segment ${index}`;
}
