/**
 * The one error of Weft: a gRPC status that the caller can act on.
 *
 * Codes are chosen for the caller's next move: UNAVAILABLE = try again, FAILED_PRECONDITION = reselect,
 * INVALID_ARGUMENT = the request is wrong, RESOURCE_EXHAUSTED = no address, VNI or slot is left,
 * NOT_FOUND = no such object. Numbers are those of gRPC (grpc/grpc doc/statuscodes.md).
 */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type Code = (typeof Code)[keyof typeof Code];

/** An error with the gRPC status code that says what its caller can do about it. */
export interface StatusError extends Error {
  readonly name: "StatusError";
  readonly code: Code;
  /** What was attempted, on which object, and the remedy. Sent to the caller. */
  readonly details: string;
}

/** Makes a status error. `cause` stays in our log and is never sent to the caller. */
export function statusError(code: Code, details: string, cause?: unknown): StatusError {
  const error = new Error(details, cause === undefined ? undefined : { cause });
  return Object.assign(error, { name: "StatusError" as const, code, details });
}

/** Whether an error has a gRPC status code. */
export function isStatusError(error: unknown): error is StatusError {
  return error instanceof Error && error.name === "StatusError" && "code" in error;
}

/** The gRPC name of a code, for texts: 5 → "NOT_FOUND". */
export function codeName(code: number): string {
  return Object.entries(Code).find(([, value]) => value === code)?.[0] ?? `CODE_${code}`;
}

/**
 * Turns anything thrown into a status error.
 * Our own and gRPC client errors keep their code; an abort becomes CANCELLED, a timeout DEADLINE_EXCEEDED;
 * anything else is a bug of ours: INTERNAL with a general text, the original as `cause`.
 */
export function toStatusError(error: unknown): StatusError {
  if (isStatusError(error)) return error;
  if (error instanceof Error) {
    if (error.name === "TimeoutError") return statusError(Code.DEADLINE_EXCEEDED, error.message, error);
    if (error.name === "AbortError") return statusError(Code.CANCELLED, error.message, error);
    const { code, details } = error as { code?: unknown; details?: unknown };
    if (typeof code === "number" && typeof details === "string" && code >= 0 && code <= 16) {
      return statusError(code as Code, details, error);
    }
  }
  return statusError(Code.INTERNAL, "internal error; the log of this component has the cause", error);
}
