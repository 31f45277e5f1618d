/** An authority and one certificate of it for both ends of a connection on loopback, as files. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";

export interface TlsFiles {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** A new certificate and key by the same authority, in the same files. */
  renew(): Promise<void>;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const hourMs = 3_600_000;
const newKeys = async () => (await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;

/** @param lifeMs  of the first certificate */
export async function makeTlsFiles(dir: string, lifeMs = hourMs): Promise<TlsFiles> {
  const rootKeys = await newKeys();
  const life = (ms: number) => ({
    notBefore: new Date(Date.now() - hourMs),
    notAfter: new Date(Date.now() + ms),
    signingAlgorithm: algorithm,
  });
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...life(hourMs),
    name: "CN=test authority",
    keys: rootKeys,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  const files = { caFile: join(dir, "ca.crt"), certFile: join(dir, "tls.crt"), keyFile: join(dir, "tls.key") };
  const write = async (ms: number): Promise<void> => {
    const keys = await newKeys();
    const leaf = await x509.X509CertificateGenerator.create({
      ...life(ms),
      subject: "CN=test",
      issuer: root.subject,
      publicKey: keys.publicKey,
      signingKey: rootKeys.privateKey,
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: "ip", value: "127.0.0.1" }]),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      ],
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
    writeFileSync(files.certFile, leaf.toString("pem"));
    writeFileSync(files.keyFile, `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`, { mode: 0o600 });
  };
  writeFileSync(files.caFile, root.toString("pem"));
  await write(lifeMs);
  return { ...files, renew: () => write(hourMs) };
}
