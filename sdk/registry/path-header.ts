/**
 * The `path` header of Register and Unregister: the tokens of the applications an entry has come through (pure).
 * Form on the wire: {"Index":1,"PathSegments":[{"token":"…"},…]}, empty {"Index":0,"PathSegments":null}.
 * Source of the rules: behaviour of NSM's registry elements grpcmetadata and updatepath.
 */
import { maxPathSegments } from "../path.js";
import { Code, type StatusError, statusError } from "../status.js";

export const pathHeader = "path";

export interface RegistryPath {
  /** The application that holds the call now. */
  readonly index: number;
  /** One token for each application; "" where there is none (no identity). */
  readonly tokens: readonly string[];
}

/**
 * @param values  all values of the header
 * @returns undefined if there is no header
 * @throws INVALID_ARGUMENT when the header is not of the form above, has null segments, or an index beyond its segments
 */
export function parsePathHeader(values: readonly string[]): RegistryPath | undefined {
  if (values.length === 0) return undefined;
  if (values.length > 1) throw malformed(`${values.length} values instead of one`);
  const { Index: index, PathSegments: segments } = parseObject(values[0] ?? "");
  if (segments === undefined || segments === null || (Array.isArray(segments) && segments.length === 0)) {
    return { index: 0, tokens: [] };
  }
  if (!Array.isArray(segments)) throw malformed("PathSegments is no list");
  if (segments.length > maxPathSegments) throw malformed(`${segments.length} segments, more than ${maxPathSegments}: a loop?`);
  const at = index ?? 0;
  if (typeof at !== "number" || !Number.isInteger(at) || at < 0) throw malformed("Index is no whole number");
  if (at >= segments.length) throw malformed(`Index ${at} is beyond its ${segments.length} segments`);
  return { index: at, tokens: segments.map(tokenOf) };
}

export function formatPathHeader({ index, tokens }: RegistryPath): string {
  const segments = tokens.length === 0 ? null : tokens.map((token) => ({ token }));
  // Headers are ASCII; JSON may escape the rest.
  return JSON.stringify({ Index: index, PathSegments: segments }).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * Enters an application into the path.
 * @param callerToken  what the call itself carried; replaces what the path says of the caller, if given
 * @param ownToken  "" = this application has no identity
 */
export function enterRegistryPath(path: RegistryPath, callerToken: string | undefined, ownToken: string): RegistryPath {
  const tokens = path.tokens.length === 0 ? [""] : path.tokens.slice();
  const index = path.tokens.length === 0 ? 0 : path.index;
  if (callerToken !== undefined) tokens[index] = callerToken;
  tokens[index + 1] = ownToken;
  return { index: index + 1, tokens };
}

/** The path as the caller gets it back: its own index, later segments kept. */
export function leaveRegistryPath(path: RegistryPath): RegistryPath {
  return { ...path, index: Math.max(0, path.index - 1) };
}

/** The `sub` claim of a JWT, whose signature is not looked at; "" if the token is none or has none. */
export function subjectOf(token: string): string {
  const parts = token.split(".");
  if (parts.length !== 3) return "";
  try {
    const { sub } = parseObject(Buffer.from(parts[1] ?? "", "base64url").toString("utf8"));
    return typeof sub === "string" ? sub : "";
  } catch {
    return "";
  }
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : "no JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("no JSON object");
  return value as Record<string, unknown>;
}

function tokenOf(segment: unknown, index: number): string {
  if (typeof segment !== "object" || segment === null) throw malformed(`segment ${index} is ${segment}`);
  const { token } = segment as { token?: unknown };
  if (token === undefined || token === null) return "";
  if (typeof token !== "string") throw malformed(`the token of segment ${index} is no text`);
  return token;
}

function malformed(why: string): StatusError {
  return statusError(Code.INVALID_ARGUMENT, `header "${pathHeader}" is malformed: ${why}`);
}
