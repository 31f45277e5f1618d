/** Texts of gRPC over HTTP/2 (grpc/grpc doc/PROTOCOL-HTTP2.md): timeouts, status messages, binary headers. */
import { Code } from "../../status.js";
import type { Fields } from "./header-decoder.js";

const unitsMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds; undefined = it is no timeout. */
export function parseTimeout(text: string): number | undefined {
  const unitMs = unitsMs[text.slice(-1)];
  const digits = text.slice(0, -1);
  return unitMs === undefined || !/^[0-9]{1,8}$/.test(digits) ? undefined : Number(digits) * unitMs;
}

export function formatTimeout(leftMs: number): string {
  const ms = Math.max(1, Math.ceil(leftMs));
  if (ms < 1e8) return `${ms}m`;
  const seconds = Math.ceil(ms / 1000);
  return seconds < 1e8 ? `${seconds}S` : `${Math.min(99_999_999, Math.ceil(seconds / 3600))}H`;
}

const plainText = /^[ -$&-~]*$/;

/** A status message: percent-encoded UTF-8 outside of printable ASCII. */
export function encodeText(text: string): string {
  if (plainText.test(text)) return text;
  let encoded = "";
  for (const byte of Buffer.from(text, "utf8")) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** Never throws: what is not encoded rightly stays as it is. */
export function decodeText(text: string): string {
  if (!text.includes("%")) return text;
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const code = text.slice(at + 1, at + 3);
    if (text[at] === "%" && /^[0-9a-f]{2}$/i.test(code)) {
      bytes.push(Number.parseInt(code, 16));
      at += 2;
    } else bytes.push(text.charCodeAt(at) & 0xff);
  }
  return Buffer.from(bytes).toString("utf8");
}

/** All values of a header, in order; those of a `-bin` header as the text that their bytes spell. */
export function valuesOf(fields: Fields, name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < fields.length; at += 2) if (fields[at] === name) values.push(fields[at + 1] as string);
  if (!name.endsWith("-bin")) return values;
  return values.flatMap((value) => value.split(",")).map((value) => Buffer.from(value.trim(), "base64").toString());
}

/** What may stand in a header: others could end it early or add one. */
export function checkHeader(name: string, value: string): void {
  if (!/^[0-9a-z_.-]+$/.test(name) || !/^[ -~]*$/.test(value)) {
    throw new TypeError(`header ${JSON.stringify(name)} cannot be sent: names are lower case, values printable ASCII`);
  }
}

/** The code of an answer that is not gRPC's (grpc/grpc doc/http-grpc-status-mapping.md). */
export function codeOfHttp(status: string | undefined): Code {
  switch (status) {
    case "400":
      return Code.INTERNAL;
    case "401":
      return Code.UNAUTHENTICATED;
    case "403":
      return Code.PERMISSION_DENIED;
    case "404":
      return Code.UNIMPLEMENTED;
    case "429":
    case "502":
    case "503":
    case "504":
      return Code.UNAVAILABLE;
    default:
      return Code.UNKNOWN;
  }
}
