/**
 * What a process needs to join a trust domain of the built-in authority: PAYLOAD.SIGNATURE in base64url, the payload JSON,
 * signed (ECDSA P-256, SHA-256) with the authority's own key. It names the root certificate, so that who holds the token
 * knows the true authority without anything else.
 */
import { createHash, type KeyObject, randomBytes, sign, verify, type X509Certificate } from "node:crypto";
import { Code, statusError } from "../status.js";
import { parseSpiffeId } from "./spiffe-id.js";

export interface JoinToken {
  /** The identity it gives; with "/*" at the end: any below that path. */
  readonly spiffeId: string;
  /** SHA-256 of the root certificate, hex. */
  readonly root: string;
  /** Milliseconds since the epoch. */
  readonly expiresMs: number;
  readonly nonce: string;
  /** May be used more than once: for processes that start again with the same environment. */
  readonly reusable: boolean;
}

const maxTokenLength = 8192;

export function fingerprintOf(certificate: X509Certificate): string {
  return createHash("sha256").update(certificate.raw).digest("hex");
}

/** @throws INVALID_ARGUMENT when the id is none */
export function mintJoinToken(
  token: { readonly spiffeId: string; readonly expiresMs: number; readonly reusable: boolean },
  root: X509Certificate,
  key: KeyObject,
): string {
  parseSpiffeId(token.spiffeId.replace(/\/\*$/, ""));
  const payload: JoinToken = { ...token, root: fingerprintOf(root), nonce: randomBytes(16).toString("hex") };
  const text = Buffer.from(JSON.stringify(payload)).toString("base64url");
  return `${text}.${sign("sha256", Buffer.from(text), key).toString("base64url")}`;
}

/** Reads a token whose signature is not looked at: what the holder needs to know. @throws INVALID_ARGUMENT */
export function readJoinToken(token: string): JoinToken {
  const [text = "", signature = "", ...more] = token.length > maxTokenLength ? [] : token.trim().split(".");
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  } catch {
    throw malformed();
  }
  if (typeof value !== "object" || value === null || signature === "" || more.length > 0) throw malformed();
  const { spiffeId, root, expiresMs, nonce, reusable } = value as Record<string, unknown>;
  if (typeof spiffeId !== "string" || typeof root !== "string" || typeof nonce !== "string") throw malformed();
  if (typeof expiresMs !== "number" || !Number.isFinite(expiresMs)) throw malformed();
  return { spiffeId, root, expiresMs, nonce, reusable: reusable === true };
}

/** @throws UNAUTHENTICATED with the reason, for the log and not for the caller */
export function checkJoinToken(token: string, root: X509Certificate, nowMs: number): JoinToken {
  let read: JoinToken;
  try {
    read = readJoinToken(token);
  } catch (error) {
    throw statusError(Code.UNAUTHENTICATED, "the join token is malformed", error);
  }
  const [text = "", signature = ""] = token.trim().split(".");
  if (!verify("sha256", Buffer.from(text), root.publicKey, Buffer.from(signature, "base64url"))) {
    throw statusError(Code.UNAUTHENTICATED, "the join token was not made by this authority");
  }
  if (read.expiresMs <= nowMs) {
    throw statusError(
      Code.UNAUTHENTICATED,
      `the join token for ${read.spiffeId} ended at ${new Date(read.expiresMs).toISOString()}`,
    );
  }
  return read;
}

function malformed() {
  return statusError(Code.INVALID_ARGUMENT, "WEFT_JOIN_TOKEN is no join token; make one with: weft ca token");
}
