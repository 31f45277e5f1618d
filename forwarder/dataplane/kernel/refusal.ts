/**
 * From the kernel's refusals to statuses that the caller can act on. The error number and the attempt stay in the text.
 */
import { isSystemError } from "../../../sdk/linux/system-error.js";
import { Code, isStatusError, type StatusError, statusError } from "../../../sdk/status.js";

const meanings: Readonly<Record<string, readonly [Code, string]>> = {
  EEXIST: [Code.ALREADY_EXISTS, "somebody else has it; choose another"],
  EBUSY: [Code.UNAVAILABLE, "in use at the moment; try again"],
  EINTR: [Code.UNAVAILABLE, "interrupted; try again"],
  EAGAIN: [Code.UNAVAILABLE, "try again"],
  ENODEV: [Code.NOT_FOUND, "the interface has vanished; ask again"],
  ENXIO: [Code.NOT_FOUND, "the interface has vanished; ask again"],
  ENOENT: [Code.NOT_FOUND, "it has vanished; ask again"],
  ESRCH: [Code.NOT_FOUND, "it has vanished; ask again"],
  EPERM: [Code.PERMISSION_DENIED, "needs CAP_NET_ADMIN over that namespace"],
  EACCES: [Code.PERMISSION_DENIED, "needs CAP_NET_ADMIN over that namespace"],
  EINVAL: [Code.INVALID_ARGUMENT, "the kernel does not accept this value"],
  ERANGE: [Code.INVALID_ARGUMENT, "the kernel does not accept this value"],
  EADDRNOTAVAIL: [Code.INVALID_ARGUMENT, "the kernel does not accept this address"],
  ENETUNREACH: [Code.INVALID_ARGUMENT, "the next hop is not reachable through the interface"],
  EHOSTUNREACH: [Code.INVALID_ARGUMENT, "the next hop is not reachable through the interface"],
  EOPNOTSUPP: [Code.FAILED_PRECONDITION, "this kernel cannot do it; see `weft doctor`"],
  EAFNOSUPPORT: [Code.FAILED_PRECONDITION, "this kernel lacks the address family; see `weft doctor`"],
  ENOMEM: [Code.RESOURCE_EXHAUSTED, "the kernel is out of memory"],
  ENOBUFS: [Code.RESOURCE_EXHAUSTED, "the kernel is out of buffers"],
  ENOSPC: [Code.RESOURCE_EXHAUSTED, "the disk or a kernel table is full"],
  EDQUOT: [Code.RESOURCE_EXHAUSTED, "the disk quota is used up"],
  EROFS: [Code.FAILED_PRECONDITION, "the file system is read-only"],
  EMFILE: [Code.RESOURCE_EXHAUSTED, "this process is out of descriptors; raise its limit"],
  ENFILE: [Code.RESOURCE_EXHAUSTED, "the machine is out of descriptors"],
};

/** @param subject the connection it was for */
export function refusalOf(error: unknown, subject: string): StatusError {
  if (isStatusError(error)) return error;
  const name = isSystemError(error) ? error.errno : error instanceof Error ? (error as { code?: unknown }).code : undefined;
  const meaning = typeof name === "string" && Object.hasOwn(meanings, name) ? meanings[name] : undefined;
  if (meaning === undefined || !(error instanceof Error))
    return statusError(Code.INTERNAL, `${subject}: the data plane failed; its log has the cause`, error);
  const [code, remedy] = meaning;
  return statusError(code, `${subject}: ${error.message}; ${remedy}`, error);
}
