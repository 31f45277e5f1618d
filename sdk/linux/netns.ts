/**
 * Network namespaces: opening, entering for one synchronous function, creating, deleting, and starting programs inside.
 *
 * setns(2) changes the calling thread only, so whatever must happen inside a namespace happens in one synchronous
 * function. A socket opened there belongs to that namespace for life and can be used from anywhere afterwards.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync, rmSync, statSync, unlinkSync } from "node:fs";
import { Code, statusError } from "../status.js";
import { findNetns } from "./find-netns.js";
import * as libc from "./libc.js";
import { inodeUrl, isNetnsName, netnsFolder, parseNetnsUrl } from "./netns-url.js";
import { hasErrno } from "./system-error.js";

export { findNetns } from "./find-netns.js";
export { inodeUrl, parseNetnsUrl } from "./netns-url.js";

/** An open network namespace; it lives at least as long as the handle. */
export interface NetnsHandle {
  readonly fd: number;
  readonly dev: bigint;
  readonly ino: bigint;
  close(): void;
}

const ownPath = "/proc/thread-self/ns/net";
/** ioctl_ns(2) NS_GET_NSTYPE: which kind of namespace a descriptor refers to. */
const NS_GET_NSTYPE = 0xb703;

/**
 * Opens a network namespace by URL (forms: netns-url.ts).
 * @throws INVALID_ARGUMENT malformed, or the file is no network namespace; NOT_FOUND it does not exist (any more);
 *         PERMISSION_DENIED
 */
export function openNetns(url: string): NetnsHandle {
  const parsed = parseNetnsUrl(url);
  const path = parsed.kind === "file" ? parsed.path : findNetns(parsed.dev, parsed.ino);
  if (path === undefined)
    throw statusError(Code.NOT_FOUND, `network namespace ${url}: no process or mount has it; is the pod gone?`);
  const handle = openNetnsPath(path, url);
  if (parsed.kind === "inode" && (handle.ino !== parsed.ino || handle.dev !== parsed.dev)) {
    handle.close();
    throw statusError(Code.NOT_FOUND, `network namespace ${url}: it vanished while it was being opened`);
  }
  return handle;
}

/** The namespace of the calling thread. */
export function openOwnNetns(): NetnsHandle {
  return openNetnsPath(ownPath, `file://${ownPath}`);
}

/** Device and inode of the calling thread's namespace. */
export function ownNetnsInode(): { dev: bigint; ino: bigint } {
  const { dev, ino } = statSync(ownPath, { bigint: true });
  return { dev, ino };
}

/**
 * Runs a synchronous function inside a namespace. A failed return would leave this thread in a foreign namespace,
 * so it ends the process.
 */
export function withNetns<T>(handle: Pick<NetnsHandle, "fd" | "ino">, run: () => T): T {
  const own = openSync(ownPath, constants.O_RDONLY);
  try {
    // to enter even one's own takes CAP_SYS_ADMIN
    if (fstatSync(own, { bigint: true }).ino === handle.ino) return refusePromise(run());
    libc.setNamespace(handle.fd, libc.CLONE_NEWNET, `enter network namespace ${handle.ino}`);
    try {
      return refusePromise(run());
    } finally {
      returnTo(own);
    }
  } finally {
    closeSync(own);
  }
}

function refusePromise<T>(result: T): T {
  if (result instanceof Promise) throw new TypeError("withNetns runs synchronous functions only");
  return result;
}

/** Starts a program inside a namespace; the child inherits the namespace of the thread that forks. */
export function spawnInNetns(
  handle: Pick<NetnsHandle, "fd" | "ino">,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  return withNetns(handle, () => spawn(command, [...args], options));
}

/**
 * Creates a namespace that lives under /run/netns until deleted; equivalent: `ip netns add NAME`.
 * In a user namespace without write access to /run a tmpfs is mounted there first, seen by this mount namespace only.
 * @throws INVALID_ARGUMENT the name; ALREADY_EXISTS; SystemError EPERM without privilege
 */
export function createNamedNetns(name: string): void {
  if (!isNetnsName(name))
    throw statusError(Code.INVALID_ARGUMENT, `network namespace name ${JSON.stringify(name)}: use letters, digits, . _ -`);
  prepareNetnsFolder();
  const path = `${netnsFolder}/${name}`;
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_CREAT | constants.O_EXCL, 0o444));
  } catch (error) {
    if (!hasErrno(error, "EEXIST")) throw error;
    throw statusError(Code.ALREADY_EXISTS, `network namespace ${name} exists; delete it with \`ip netns delete ${name}\``, error);
  }
  const own = openSync(ownPath, constants.O_RDONLY);
  try {
    libc.unshare(libc.CLONE_NEWNET, `create network namespace ${name}`);
    try {
      libc.mount(ownPath, path, "none", libc.MS_BIND, null, `mount network namespace on ${path}`);
    } finally {
      returnTo(own);
    }
  } catch (error) {
    unlinkSync(path);
    throw error;
  } finally {
    closeSync(own);
  }
}

/** A namespace without a name, which ends with its last process, socket and handle. */
export function openNewNetns(): NetnsHandle {
  const own = openSync(ownPath, constants.O_RDONLY);
  try {
    libc.unshare(libc.CLONE_NEWNET, "create a network namespace");
    try {
      return openOwnNetns();
    } finally {
      returnTo(own);
    }
  } finally {
    closeSync(own);
  }
}

/** Takes the name away; the namespace ends with its last process and socket; equivalent: `ip netns delete NAME`. Unknown names are fine. */
export function deleteNamedNetns(name: string): void {
  if (!isNetnsName(name)) return;
  const path = `${netnsFolder}/${name}`;
  try {
    libc.unmount(path, libc.MNT_DETACH, `unmount ${path}`);
  } catch (error) {
    if (!hasErrno(error, "ENOENT", "EINVAL")) throw error;
  }
  rmSync(path, { force: true });
}

/** The inode URL of the calling thread's namespace, as put on the wire. */
export function ownInodeUrl(): string {
  return inodeUrl(ownNetnsInode());
}

function openNetnsPath(path: string, url: string): NetnsHandle {
  let fd: number;
  try {
    // Only regular files: opening a pipe would block and opening a device may have effects.
    if (!statSync(path).isFile()) throw statusError(Code.INVALID_ARGUMENT, `${url} is not a network namespace`);
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH", "ENOTDIR")) {
      throw statusError(Code.NOT_FOUND, `network namespace ${url} does not exist; is the pod gone?`, error);
    }
    if (hasErrno(error, "EACCES", "EPERM")) {
      throw statusError(
        Code.PERMISSION_DENIED,
        `open network namespace ${url}: not permitted; run as root or in its user namespace`,
        error,
      );
    }
    throw error;
  }
  try {
    if (libc.ioctl(fd, NS_GET_NSTYPE, null, `ask the kind of namespace ${url}`) !== libc.CLONE_NEWNET)
      throw new Error("another kind");
    const { dev, ino } = statSync(`/proc/thread-self/fd/${fd}`, { bigint: true });
    return { fd, dev, ino, close: once(() => closeSync(fd)) };
  } catch (error) {
    closeSync(fd);
    throw statusError(Code.INVALID_ARGUMENT, `${url} is not a network namespace`, error);
  }
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    action();
  };
}

function returnTo(own: number): void {
  try {
    libc.setNamespace(own, libc.CLONE_NEWNET, "return to the own network namespace");
  } catch (error) {
    process.stderr.write(`cannot return to the own network namespace, ending: ${String(error)}\n`);
    process.abort();
  }
}

function prepareNetnsFolder(): void {
  try {
    mkdirSync(netnsFolder, { recursive: true, mode: 0o755 });
    // A folder we may not write to is as good as none.
    const probe = `${netnsFolder}/.weft-${process.pid}`;
    closeSync(openSync(probe, "w"));
    unlinkSync(probe);
  } catch (error) {
    if (!hasErrno(error, "EACCES", "EROFS", "EPERM") || !inUserNamespace()) throw error;
    libc.mount("tmpfs", "/run", "tmpfs", 0, "mode=0755", "mount a tmpfs on /run of this mount namespace");
    mkdirSync(netnsFolder, { recursive: true, mode: 0o755 });
  }
}

/** Whether this process runs in a user namespace other than the machine's (user_namespaces(7), uid_map). */
export function inUserNamespace(): boolean {
  return !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
}
