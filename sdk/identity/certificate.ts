/**
 * What a SPIFFE verifier must know of a certificate and node:crypto does not tell: its URI names and key usage bits,
 * read from the DER itself (RFC 5280 §4.1, §4.2.1.3, §4.2.1.6; X.690 for DER).
 */
import type { X509Certificate } from "node:crypto";
import { Code, statusError } from "../status.js";

export interface CertificateNames {
  /** Names of type uniformResourceIdentifier, in order. */
  readonly uris: readonly string[];
  readonly mayCertSign: boolean;
  readonly mayCrlSign: boolean;
}

const subjectAltNameOid = "551d11";
const keyUsageOid = "551d0f";

const tag = { bitString: 0x03, octetString: 0x04, oid: 0x06, sequence: 0x30, extensions: 0xa3, uri: 0x86 } as const;

/** @throws INVALID_ARGUMENT when the bytes are not a certificate of this form */
export function certificateNames(certificate: X509Certificate): CertificateNames {
  const extensions = extensionsOf(certificate.raw);
  const names = extensions.get(subjectAltNameOid);
  const usage = extensions.get(keyUsageOid);
  // keyUsage ::= BIT STRING: one byte of unused bits, then bit 0 is the highest; keyCertSign is bit 5, cRLSign bit 6
  const bits = usage === undefined ? 0 : (read(usage, 0, tag.bitString).body[1] ?? 0);
  return {
    uris: names === undefined ? [] : elements(read(names, 0, tag.sequence).body).flatMap(uriOf),
    mayCertSign: (bits & 0x04) !== 0,
    mayCrlSign: (bits & 0x02) !== 0,
  };
}

interface Element {
  readonly tag: number;
  readonly body: Buffer;
  /** Offset of what follows. */
  readonly end: number;
}

/** Extensions by object identifier (hex of its DER body). */
function extensionsOf(der: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const [tbs] = elements(read(der, 0, tag.sequence).body);
  const holder = elements(tbs?.body ?? Buffer.alloc(0)).find((element) => element.tag === tag.extensions);
  if (holder === undefined) return found;
  for (const extension of elements(read(holder.body, 0, tag.sequence).body)) {
    const parts = elements(extension.body);
    const oid = parts.find((part) => part.tag === tag.oid);
    const value = parts.find((part) => part.tag === tag.octetString);
    if (oid !== undefined && value !== undefined) found.set(oid.body.toString("hex"), value.body);
  }
  return found;
}

function uriOf(element: Element): string[] {
  return element.tag === tag.uri ? [element.body.toString("latin1")] : [];
}

function elements(bytes: Buffer): Element[] {
  const found: Element[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const element = read(bytes, offset);
    found.push(element);
    offset = element.end;
  }
  return found;
}

function read(bytes: Buffer, offset: number, expected?: number): Element {
  const found = bytes[offset];
  const first = bytes[offset + 1];
  if (found === undefined || first === undefined || (expected !== undefined && found !== expected)) throw malformed();
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > 3 || first === 0x80 || offset + 2 + lengthBytes > bytes.length) throw malformed();
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(offset + 2, lengthBytes);
  const start = offset + 2 + lengthBytes;
  if (start + length > bytes.length) throw malformed();
  return { tag: found, body: bytes.subarray(start, start + length), end: start + length };
}

function malformed() {
  return statusError(Code.INVALID_ARGUMENT, "the certificate is malformed");
}
