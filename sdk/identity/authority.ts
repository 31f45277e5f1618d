/**
 * Issues certificates of a trust domain: a root that signs short-lived leaf certificates with one SPIFFE ID each.
 * For the built-in authority (`weft ca`) and for tests. Profile: X509-SVID standard §3–5, keys EC P-256.
 */
import "reflect-metadata";
import { createPrivateKey, type KeyObject, webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { keyAlgorithm, newKeys, newSerialNumber } from "./keys.js";

/** Clocks of other machines may be behind. */
const backdateMs = 60_000;

export interface Authority {
  readonly trustDomain: string;
  readonly certificate: X509Certificate;
  /** PEM (PKCS #8), to keep the authority over a restart. */
  readonly privateKeyPem: string;
  /**
   * A leaf certificate for a new key.
   * @param uris  usually one SPIFFE ID; other numbers only to test verifiers
   */
  issue(uris: readonly string[], options: IssueOptions): Promise<IssuedCertificate>;
  /** A leaf certificate for somebody else's public key (SPKI, DER). */
  certify(spiffeId: string, publicKeyDer: Buffer, options: IssueOptions): Promise<X509Certificate>;
}

export interface IssueOptions {
  readonly lifetimeMs: number;
  /** Default: now. */
  readonly notBeforeMs?: number;
  /** A leaf that may sign others: refused by every verifier. */
  readonly mayCertSign?: boolean;
}

export interface IssuedCertificate {
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

/** A new authority with a root certificate of its own. */
export async function createAuthority(trustDomain: string, options: { readonly lifetimeMs: number }): Promise<Authority> {
  const keys = await newKeys();
  const nowMs = Date.now();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerialNumber(),
    name: `CN=${trustDomain}, O=Weft`,
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + options.lifetimeMs),
    signingAlgorithm: keyAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: `spiffe://${trustDomain}` }]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return authorityOf(trustDomain, root, keys.privateKey);
}

/** An authority from what was kept of it. @throws when key and certificate cannot be read */
export async function restoreAuthority(trustDomain: string, certificatePem: string, privateKeyPem: string): Promise<Authority> {
  const der = createPrivateKey(privateKeyPem).export({ type: "pkcs8", format: "der" });
  const privateKey = await webcrypto.subtle.importKey("pkcs8", der, keyAlgorithm, true, ["sign"]);
  return authorityOf(trustDomain, new x509.X509Certificate(certificatePem), privateKey as webcrypto.CryptoKey);
}

async function authorityOf(trustDomain: string, root: x509.X509Certificate, signingKey: webcrypto.CryptoKey): Promise<Authority> {
  async function sign(uris: readonly string[], publicKey: webcrypto.CryptoKey, options: IssueOptions): Promise<X509Certificate> {
    const fromMs = options.notBeforeMs ?? Date.now() - backdateMs;
    const usage = x509.KeyUsageFlags.digitalSignature | (options.mayCertSign ? x509.KeyUsageFlags.keyCertSign : 0);
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: newSerialNumber(),
      subject: "O=Weft",
      issuer: root.subject,
      notBefore: new Date(fromMs),
      notAfter: new Date(Math.max(fromMs + 1000, (options.notBeforeMs ?? Date.now()) + options.lifetimeMs)),
      signingAlgorithm: keyAlgorithm,
      publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(usage, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        ...(uris.length === 0
          ? []
          : [new x509.SubjectAlternativeNameExtension(uris.map((value) => ({ type: "url" as const, value })))]),
        await x509.AuthorityKeyIdentifierExtension.create(root.publicKey),
      ],
    });
    return new X509Certificate(Buffer.from(leaf.rawData));
  }
  return {
    trustDomain,
    certificate: new X509Certificate(Buffer.from(root.rawData)),
    privateKeyPem: x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", signingKey), "PRIVATE KEY"),
    async issue(uris, options) {
      const keys = await newKeys();
      const certificate = await sign(uris, keys.publicKey, options);
      const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
      return { certificate, privateKey: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
    },
    async certify(spiffeId, publicKeyDer, options) {
      const publicKey = await webcrypto.subtle.importKey("spki", publicKeyDer, keyAlgorithm, true, ["verify"]);
      return sign([spiffeId], publicKey as webcrypto.CryptoKey, options);
    },
  };
}
