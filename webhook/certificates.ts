/** The webhook's own certificate: an authority for nobody else, and what it signs. PEM in, PEM out. */
import "reflect-metadata";
import { webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { keyAlgorithm, newKeys, newSerialNumber } from "../sdk/identity/keys.js";

/** What a TLS server shows. */
export interface Certificate {
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** As kept: the authority, and the certificate that it signed last. */
export interface CertificateSet extends Certificate {
  readonly caPem: string;
  readonly caKeyPem: string;
}

const hourMs = 3600_000;
const yearMs = 365 * 24 * hourMs;
const rootLifeMs = 10 * yearMs;
const leafLifeMs = 90 * 24 * hourMs;
/** Clocks of other machines may be behind. */
const backdateMs = hourMs;

/** @param dnsNames  by which the server is called */
export async function makeCertificates(
  dnsNames: readonly string[],
  nowMs: number,
  leafLife = leafLifeMs,
): Promise<CertificateSet> {
  const keys = await newKeys();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerialNumber(),
    name: "CN=weft webhook authority",
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + rootLifeMs),
    signingAlgorithm: keyAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const caKeyPem = await pemOf(keys.privateKey);
  return { caPem: root.toString("pem"), caKeyPem, ...(await sign(root, keys.privateKey, dnsNames, nowMs, leafLife)) };
}

/** A new certificate by the same authority, so that nobody has to learn another one. */
export async function renewCertificate(set: CertificateSet, dnsNames: readonly string[], nowMs: number): Promise<CertificateSet> {
  const der = x509.PemConverter.decodeFirst(set.caKeyPem);
  const key = await webcrypto.subtle.importKey("pkcs8", der, keyAlgorithm, true, ["sign"]);
  return { ...set, ...(await sign(new x509.X509Certificate(set.caPem), key as CryptoKey, dnsNames, nowMs, leafLifeMs)) };
}

/** What is to be done about a set: nothing, a new certificate, or everything anew (it is none, or the authority ends). */
export function dueOf(set: CertificateSet | undefined, dnsNames: readonly string[], nowMs: number): "nothing" | "leaf" | "all" {
  if (set === undefined) return "all";
  try {
    const root = new X509Certificate(set.caPem);
    const leaf = new X509Certificate(set.certificatePem);
    if (Date.parse(root.validTo) < nowMs + yearMs || Date.parse(root.validFrom) > nowMs) return "all";
    const fromMs = Date.parse(leaf.validFrom);
    const untilMs = Date.parse(leaf.validTo);
    const good = leaf.verify(root.publicKey) && dnsNames.every((name) => leaf.checkHost(name) !== undefined);
    // a third of its life is left for clusters that are asleep
    const young = nowMs < fromMs + ((untilMs - fromMs) * 2) / 3 && nowMs >= fromMs;
    return good && young ? "nothing" : "leaf";
  } catch {
    return "all";
  }
}

type CryptoKey = webcrypto.CryptoKey;

async function sign(
  root: x509.X509Certificate,
  signingKey: CryptoKey,
  dnsNames: readonly string[],
  nowMs: number,
  lifeMs: number,
) {
  const keys = await newKeys();
  const leaf = await x509.X509CertificateGenerator.create({
    serialNumber: newSerialNumber(),
    subject: "CN=weft webhook",
    issuer: root.subject,
    notBefore: new Date(nowMs - Math.min(backdateMs, lifeMs)),
    notAfter: new Date(nowMs + lifeMs),
    signingAlgorithm: keyAlgorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(dnsNames.map((value) => ({ type: "dns" as const, value }))),
      await x509.AuthorityKeyIdentifierExtension.create(root.publicKey),
    ],
  });
  return { certificatePem: leaf.toString("pem"), keyPem: await pemOf(keys.privateKey) };
}

async function pemOf(key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}
