/**
 * A refusal of the kernel: which call, on what, and the errno by name ("create vxlan vni=42: EEXIST").
 */
import { constants } from "node:os";

export interface SystemError extends Error {
  readonly name: "SystemError";
  /** What was attempted, with its object: "open /run/netns/x". */
  readonly verb: string;
  /** Name of the error number: "ENOENT". */
  readonly errno: string;
  /** Positive error number. */
  readonly errnoNumber: number;
  /** Extra words of the kernel (netlink extended acknowledgement), or empty. */
  readonly kernelText: string;
}

const names = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** Name of an error number (errno(3)): 17 → "EEXIST"; an unknown one → "ERRNO_n". */
export function errnoName(errnoNumber: number): string {
  return names.get(errnoNumber) ?? `ERRNO_${errnoNumber}`;
}

/** Number of an error name: "EEXIST" → 17; 0 when unknown. */
export function errnoNumber(name: string): number {
  return Object.hasOwn(constants.errno, name) ? constants.errno[name as keyof typeof constants.errno] : 0;
}

export function systemError(verb: string, number: number, kernelText = ""): SystemError {
  const errno = errnoName(number);
  const error = new Error(kernelText === "" ? `${verb}: ${errno}` : `${verb}: ${errno} (${kernelText})`);
  return Object.assign(error, { name: "SystemError" as const, verb, errno, errnoNumber: number, kernelText });
}

export function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && error.name === "SystemError" && "errno" in error;
}

/** Whether it is a refusal with one of these error names, from a system call of ours or of Node's (`code`). */
export function hasErrno(error: unknown, ...errnos: string[]): boolean {
  if (isSystemError(error)) return errnos.includes(error.errno);
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" && errnos.includes(code);
}
