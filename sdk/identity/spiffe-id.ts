/**
 * SPIFFE IDs (SPIFFE-ID standard §2): spiffe://TRUST-DOMAIN/PATH.
 */
import { Code, statusError } from "../status.js";

export interface SpiffeId {
  /** The id in its one spelling. */
  readonly id: string;
  readonly trustDomain: string;
  /** Begins with "/", or is empty for the id of the trust domain itself. */
  readonly path: string;
}

/** Longest id that the standard allows, in bytes. */
const maxIdBytes = 2048;
const form = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[a-zA-Z0-9._-]+)*)$/;

/** @throws INVALID_ARGUMENT naming what is wrong */
export function parseSpiffeId(text: string): SpiffeId {
  if (Buffer.byteLength(text) > maxIdBytes) throw refused(text, `it is longer than ${maxIdBytes} bytes`);
  const match = form.exec(text);
  if (match === null) throw refused(text, "the form is spiffe://trust.domain/path with letters, digits, '.', '-' and '_'");
  const [, trustDomain = "", path = ""] = match;
  if (path.split("/").some((part) => part === "." || part === "..")) throw refused(text, "'.' and '..' are no path segments");
  return { id: text, trustDomain, path };
}

function refused(text: string, why: string) {
  return statusError(Code.INVALID_ARGUMENT, `"${text.slice(0, 128)}" is no SPIFFE ID: ${why}`);
}
