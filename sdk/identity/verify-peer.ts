/**
 * Is this certificate chain a valid X.509-SVID of a trust domain that we trust? (X509-SVID standard §4, §5)
 */
import type { X509Certificate } from "node:crypto";
import { Code, statusError } from "../status.js";
import { certificateNames } from "./certificate.js";
import { parseSpiffeId, type SpiffeId } from "./spiffe-id.js";

/** Authorities by trust domain. */
export type TrustBundles = ReadonlyMap<string, readonly X509Certificate[]>;

/** Longer chains than any authority uses; a bound on the work a stranger can cause. */
const maxChain = 8;

/**
 * @param chain  leaf first, as sent in the handshake
 * @returns the SPIFFE ID of the leaf
 * @throws UNAUTHENTICATED with the reason, for the log and not for the peer
 */
export function verifyPeer(chain: readonly X509Certificate[], bundles: TrustBundles, nowMs: number): SpiffeId {
  const [leaf, ...others] = chain;
  if (leaf === undefined) throw refused("no certificate was shown");
  if (chain.length > maxChain) throw refused(`a chain of ${chain.length} certificates is too long`);
  const id = spiffeIdOf(leaf);
  const authorities = bundles.get(id.trustDomain);
  if (authorities === undefined) {
    throw refused(
      `trust domain ${id.trustDomain} of ${id.id} is not trusted; trusted: ${[...bundles.keys()].join(", ") || "none"}`,
    );
  }
  const { mayCertSign, mayCrlSign } = certificateNames(leaf);
  if (leaf.ca || mayCertSign || mayCrlSign) throw refused(`${id.id} shows a certificate that may sign others`);
  walk(id, leaf, others, authorities, nowMs);
  return id;
}

/** The one SPIFFE ID of a leaf certificate. @throws UNAUTHENTICATED when there is not exactly one URI name, or it is none */
export function spiffeIdOf(leaf: X509Certificate): SpiffeId {
  let uris: readonly string[];
  try {
    uris = certificateNames(leaf).uris;
  } catch (error) {
    throw refused("the certificate is malformed", error);
  }
  const [uri] = uris;
  if (uri === undefined || uris.length !== 1) throw refused(`the certificate has ${uris.length} URI names instead of one`);
  try {
    return parseSpiffeId(uri);
  } catch (error) {
    throw refused(`the certificate's URI name ${uri.slice(0, 128)} is no SPIFFE ID`, error);
  }
}

function walk(
  id: SpiffeId,
  leaf: X509Certificate,
  others: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  nowMs: number,
): void {
  const left = new Set(others);
  for (let current = leaf; ; ) {
    checkTime(id, current, nowMs);
    const issuer = authorities.find((authority) => signed(authority, current));
    if (issuer !== undefined) {
      checkTime(id, issuer, nowMs);
      return;
    }
    const next = [...left].find(
      (candidate) => candidate.ca && certificateNames(candidate).mayCertSign && signed(candidate, current),
    );
    if (next === undefined) throw refused(`the certificate of ${id.id} does not lead to an authority of ${id.trustDomain}`);
    left.delete(next);
    current = next;
  }
}

function signed(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function checkTime(id: SpiffeId, certificate: X509Certificate, nowMs: number): void {
  const fromMs = Date.parse(certificate.validFrom);
  const toMs = Date.parse(certificate.validTo);
  if (nowMs < fromMs)
    throw refused(`a certificate of ${id.id} is valid from ${certificate.validFrom} only; are the clocks right?`);
  if (nowMs > toMs) throw refused(`a certificate of ${id.id} expired at ${certificate.validTo}`);
}

function refused(why: string, cause?: unknown) {
  return statusError(Code.UNAUTHENTICATED, why, cause);
}
