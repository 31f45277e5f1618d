/** An X.509-SVID of our own with what it trusts. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { Code, statusError } from "../status.js";
import type { SpiffeId } from "./spiffe-id.js";
import { spiffeIdOf, type TrustBundles } from "./verify-peer.js";

export interface X509Svid {
  readonly id: SpiffeId;
  /** Leaf first. */
  readonly certificates: readonly X509Certificate[];
  readonly privateKey: KeyObject;
  readonly bundles: TrustBundles;
  /** Milliseconds since the epoch. */
  readonly notAfterMs: number;
}

/**
 * @throws INVALID_ARGUMENT when key and certificate do not belong together, or the key is not EC P-256: path tokens are
 *         ES256, and stock peers accept nothing else
 */
export function makeSvid(certificates: readonly X509Certificate[], privateKey: KeyObject, bundles: TrustBundles): X509Svid {
  const [leaf] = certificates;
  if (leaf === undefined) throw statusError(Code.INVALID_ARGUMENT, "the identity has no certificate");
  const id = spiffeIdOf(leaf);
  if (!leaf.checkPrivateKey(privateKey)) {
    throw statusError(Code.INVALID_ARGUMENT, `the private key is not that of the certificate of ${id.id}`);
  }
  if (privateKey.asymmetricKeyType !== "ec" || privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw statusError(
      Code.INVALID_ARGUMENT,
      `the key of ${id.id} is ${privateKey.asymmetricKeyType}; path tokens need EC P-256 (in SPIRE: ca_key_type, the default)`,
    );
  }
  return { id, certificates, privateKey, bundles, notAfterMs: Date.parse(leaf.validTo) };
}

/** The certificates of a PEM text, in order. @throws INVALID_ARGUMENT when there is none, or one is malformed */
export function certificatesOfPem(pem: string, what: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw statusError(Code.INVALID_ARGUMENT, `${what} holds no PEM certificate`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw statusError(Code.INVALID_ARGUMENT, `${what} holds a certificate that cannot be read`, error);
  }
}

/** The certificates of concatenated DER, as the Workload API sends them. @throws INVALID_ARGUMENT */
export function certificatesOfDer(der: Buffer, what: string): X509Certificate[] {
  const found: X509Certificate[] = [];
  for (let offset = 0; offset < der.length; ) {
    const length = derLength(der, offset);
    if (length === undefined || offset + length > der.length) {
      throw statusError(Code.INVALID_ARGUMENT, `${what} is cut off after ${found.length} certificates`);
    }
    try {
      found.push(new X509Certificate(der.subarray(offset, offset + length)));
    } catch (error) {
      throw statusError(Code.INVALID_ARGUMENT, `${what} holds a certificate that cannot be read`, error);
    }
    offset += length;
  }
  return found;
}

/** @throws INVALID_ARGUMENT when it is no private key */
export function privateKeyOf(key: string | Buffer, what: string): KeyObject {
  try {
    return typeof key === "string" ? createPrivateKey(key) : createPrivateKey({ key, format: "der", type: "pkcs8" });
  } catch (error) {
    throw statusError(Code.INVALID_ARGUMENT, `${what} is no private key (PEM, or PKCS #8)`, error);
  }
}

/** Length of the outermost DER element at this offset, header included (X.690 §8.1). */
function derLength(der: Buffer, offset: number): number | undefined {
  const first = der[offset + 1];
  if (der[offset] !== 0x30 || first === undefined || first === 0x80) return undefined;
  if (first < 0x80) return 2 + first;
  const bytes = first & 0x7f;
  if (bytes > 3 || offset + 2 + bytes > der.length) return undefined;
  return 2 + bytes + der.readUIntBE(offset + 2, bytes);
}
