/** Certificates that no authority of ours would make, for tests of who checks them. */
import "reflect-metadata";
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomUUID, webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { Authority } from "../identity/authority.js";

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A certificate by an authority's root, or by anyone else's key. */
async function certify(
  issuer: { readonly certificate: X509Certificate; readonly privateKey: KeyObject },
  publicKey: KeyObject,
  extensions: readonly x509.Extension[],
): Promise<X509Certificate> {
  const rsa = publicKey.asymmetricKeyType === "rsa";
  const signer = issuer.privateKey.export({ type: "pkcs8", format: "der" });
  const made = await x509.X509CertificateGenerator.create({
    subject: `CN=${randomUUID()}`,
    issuer: new x509.X509Certificate(issuer.certificate.raw).subject,
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 60_000),
    signingAlgorithm: ecdsa,
    signingKey: (await webcrypto.subtle.importKey("pkcs8", signer, ecdsa, true, ["sign"])) as webcrypto.CryptoKey,
    publicKey: (await webcrypto.subtle.importKey(
      "spki",
      publicKey.export({ type: "spki", format: "der" }),
      rsa ? { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } : ecdsa,
      true,
      ["verify"],
    )) as webcrypto.CryptoKey,
    extensions: [...extensions],
  });
  return new X509Certificate(Buffer.from(made.rawData));
}

const rootOf = ({ certificate, privateKeyPem }: Authority) => ({ certificate, privateKey: createPrivateKey(privateKeyPem) });
const named = (id: string) => new x509.SubjectAlternativeNameExtension([{ type: "url", value: id }]);

/** A leaf of the authority with an RSA key. */
export async function rsaLeaf(
  authority: Authority,
  id: string,
): Promise<{ certificate: X509Certificate; privateKey: KeyObject }> {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { certificate: await certify(rootOf(authority), publicKey, [named(id)]), privateKey };
}

/** A leaf whose issuer is itself certified by the authority. */
export async function leafBelow(authority: Authority, id: string) {
  const middle = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const intermediate = await certify(rootOf(authority), middle.publicKey, [
    new x509.BasicConstraintsExtension(true, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
  ]);
  const leaf = await certify({ certificate: intermediate, privateKey: middle.privateKey }, publicKey, [named(id)]);
  return { leaf, intermediate, privateKey };
}

/** A leaf that vouches for itself. */
export async function selfSigned(id: string): Promise<{ certificate: X509Certificate; privateKey: KeyObject }> {
  const keys = (await webcrypto.subtle.generateKey(ecdsa, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=self",
    notBefore: new Date(Date.now() - 1000),
    notAfter: new Date(Date.now() + 60_000),
    signingAlgorithm: ecdsa,
    keys,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "url", value: id }])],
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    certificate: new X509Certificate(Buffer.from(made.rawData)),
    privateKey: createPrivateKey({ key: der, format: "der", type: "pkcs8" }),
  };
}
