/** From VPP's return values to statuses that the caller can act on. Numbers: vnet/api_errno.h. */
import { Code, type StatusError, statusError } from "../../sdk/status.js";

const invalidValue: readonly [Code, string] = [Code.INVALID_ARGUMENT, "VPP does not accept a value"];
const systemCall: readonly [Code, string] = [Code.FAILED_PRECONDITION, "a system call of VPP failed; its log says which"];
const meanings: ReadonlyMap<number, readonly [Code, string]> = new Map([
  [-2, [Code.NOT_FOUND, "no such interface in VPP; ask again"]],
  [-3, [Code.NOT_FOUND, "no such routing table in VPP"]],
  [-6, [Code.NOT_FOUND, "no such entry in VPP"]],
  [-7, invalidValue],
  [-8, invalidValue],
  [-10, [Code.NOT_FOUND, "no such interface in VPP; ask again"]],
  [-11, systemCall],
  [-12, systemCall],
  [-13, systemCall],
  [-31, [Code.ALREADY_EXISTS, "registered already"]],
  [-71, [Code.NOT_FOUND, "the interface of the host has vanished; ask again"]],
  [-75, [Code.ALREADY_EXISTS, "VPP has that tunnel already; choose another"]],
  [-81, [Code.ALREADY_EXISTS, "VPP has it already; choose another"]],
  [-116, [Code.ALREADY_EXISTS, "VPP has an entry like that; choose another"]],
  [-73, invalidValue],
  [-79, [Code.ALREADY_EXISTS, "VPP has that interface already; choose another"]],
  [-105, [Code.ALREADY_EXISTS, "the address is in use in VPP"]],
  [-126, [Code.FAILED_PRECONDITION, "this VPP cannot do it"]],
  [-127, [Code.ALREADY_EXISTS, "another interface of VPP has that address"]],
  [-162, [Code.RESOURCE_EXHAUSTED, "a limit of VPP is reached"]],
  [-167, [Code.UNAVAILABLE, "VPP is busy; try again"]],
]);

/** A refusal with VPP's own number in `retval`. */
export type VppRefusal = StatusError & { readonly retval: number };

export function refusal(request: string, retval: number): VppRefusal {
  const [code, remedy] = meanings.get(retval) ?? [Code.INTERNAL, "VPP's log may say why"];
  return Object.assign(statusError(code, `VPP refused ${request}: return value ${retval}; ${remedy}`), { retval });
}

/** Whether VPP refused with one of these numbers. */
export function isRefusal(error: unknown, ...retvals: number[]): boolean {
  const retval = error instanceof Error ? (error as { retval?: unknown }).retval : undefined;
  return typeof retval === "number" && retvals.includes(retval);
}
