/** What the API server refuses, as a status that the caller can act on. */
import { Code, type StatusError, statusError } from "../status.js";

export interface ApiError extends StatusError {
  /** 0 = there was no answer. */
  readonly httpStatus: number;
  /** As the server gives it, for example "AlreadyExists", "Conflict", "Expired". */
  readonly reason: string;
}

export function isApiError(error: unknown): error is ApiError {
  return error instanceof Error && error.name === "StatusError" && "httpStatus" in error;
}

/** The body of a refusal (meta/v1 Status); every part may be missing. */
interface Refusal {
  readonly message?: string;
  readonly reason?: string;
  readonly details?: { readonly group?: string; readonly kind?: string; readonly retryAfterSeconds?: number };
}

/** @param what  what was attempted, for example "list networkservices" */
export function refusal(what: string, httpStatus: number, body: unknown): ApiError {
  const status: Refusal = typeof body === "object" && body !== null ? (body as Refusal) : {};
  const reason = typeof status.reason === "string" ? status.reason : "";
  const message = typeof status.message === "string" && status.message !== "" ? status.message : `HTTP ${httpStatus}`;
  const details = `the Kubernetes API refuses to ${what}: ${message}${remedy(httpStatus, message)}`;
  return Object.assign(statusError(codeOf(httpStatus, reason), details), { httpStatus, reason });
}

/** @param remedy  what to look at */
export function noAnswer(what: string, server: URL, error: unknown): ApiError {
  const why = error instanceof Error ? error.message : String(error);
  const details = `the Kubernetes API at ${server.host} gives no answer to ${what}: ${why}; it is tried again`;
  return Object.assign(statusError(Code.UNAVAILABLE, details, error), { httpStatus: 0, reason: "" });
}

function codeOf(httpStatus: number, reason: string): Code {
  if (httpStatus === 409) return reason === "AlreadyExists" ? Code.ALREADY_EXISTS : Code.ABORTED;
  if (httpStatus === 401) return Code.UNAUTHENTICATED;
  if (httpStatus === 403) return Code.PERMISSION_DENIED;
  if (httpStatus === 404) return Code.NOT_FOUND;
  if (httpStatus === 405 || httpStatus === 415) return Code.UNIMPLEMENTED;
  if (httpStatus === 410) return Code.OUT_OF_RANGE;
  if (httpStatus === 413) return Code.RESOURCE_EXHAUSTED;
  if (httpStatus === 408 || httpStatus === 429 || httpStatus >= 500) return Code.UNAVAILABLE;
  return Code.INVALID_ARGUMENT;
}

function remedy(httpStatus: number, message: string): string {
  if (httpStatus === 401) return "; the token or certificate is not accepted: is it of this cluster, and still valid?";
  if (httpStatus !== 403) return "";
  const rule = missingRule(message);
  return rule === undefined ? "" : `; missing RBAC rule: ${rule}`;
}

/**
 * The rule that would allow what was refused, as it stands in a Role; undefined when the text is not RBAC's.
 * The text is made in kubernetes/apiserver, endpoints/handlers/responsewriters/errors.go.
 */
export function missingRule(message: string): string | undefined {
  const found =
    /cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: (at the cluster scope)| in the namespace "([^"]*)")?/.exec(
      message,
    );
  if (found === null) return undefined;
  const [, verb, resource, group, cluster, namespace] = found;
  const where = cluster !== undefined ? " in a ClusterRole" : namespace ? ` in a Role of namespace ${namespace}` : "";
  return `{apiGroups: ["${group}"], resources: ["${resource}"], verbs: ["${verb}"]}${where}`;
}

/** The answer of a request for one object; undefined when there is none of that name (404). Other errors are thrown on. */
export async function orAbsent<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isApiError(error) && error.httpStatus === 404) return undefined;
    throw error;
  }
}
