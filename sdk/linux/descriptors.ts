/**
 * The system calls under a socket that passes descriptors (unix(7), SCM_RIGHTS), none of which blocks.
 *
 * All structures lie in one piece of memory that is never moved and never freed: calls are synchronous, so one is enough,
 * and nothing is allocated or marshalled per call. Layouts are those of 64-bit Linux.
 */
import { closeSync, fstatSync } from "node:fs";
import koffi from "koffi";
import { maxDescriptorsPerMessage, parseRights, rightsOf } from "./rights.js";
import { errnoName, errnoNumber, systemError } from "./system-error.js";

const libc = koffi.load(null);
const bindings = {
  recvmsg: libc.func("intptr_t recvmsg(int fd, void *message, int flags)"),
  sendmsg: libc.func("intptr_t sendmsg(int fd, void *message, int flags)"),
  send: libc.func("intptr_t send(int fd, const void *data, size_t length, int flags)"),
  shutdown: libc.func("int shutdown(int fd, int how)"),
  fcntl: libc.func("int fcntl(int fd, int command, ...)"),
};

const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SHUT_WR = 1;
const F_DUPFD_CLOEXEC = 1030;

/** Where things lie in the piece of memory. */
const at = { message: 0, vector: 64, control: 128, status: 2048, data: 4096 } as const;
/** struct msghdr */
const field = { vectors: 16, vectorCount: 24, control: 32, controlLength: 40, flags: 48 } as const;
const controlBytes = 24 + 4 * maxDescriptorsPerMessage;
const dataBytes = 64 * 1024;

const memory = Buffer.alloc(at.data + dataBytes);
const base = koffi.address(memory);
memory.writeBigUInt64LE(base + BigInt(at.vector), at.message + field.vectors);
memory.writeBigUInt64LE(1n, at.message + field.vectorCount);
memory.writeBigUInt64LE(base + BigInt(at.control), at.message + field.control);
memory.writeBigUInt64LE(base + BigInt(at.data), at.vector);

export interface Received {
  /** Empty: the other end has closed. */
  readonly data: Buffer;
  /** Ours to close. */
  readonly descriptors: readonly number[];
  /** Descriptors were sent that this process could not take: it has too many open. */
  readonly lost: boolean;
  /** Whether there may be more to read at once. */
  readonly more: boolean;
}

/**
 * Up to 64 KiB and the descriptors that came with them. Undefined: nothing there.
 * @throws SystemError with `code`: the connection has failed
 */
export function receive(fd: number): Received | undefined {
  memory.writeBigUInt64LE(BigInt(dataBytes), at.vector + 8);
  memory.writeBigUInt64LE(BigInt(controlBytes), at.message + field.controlLength);
  const length = Number(bindings.recvmsg(fd, memory, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  if (length < 0) return undefinedIfBusy("receive on a unix socket");
  const flags = memory.readUInt32LE(at.message + field.flags);
  const control = Number(memory.readBigUInt64LE(at.message + field.controlLength));
  const descriptors = control === 0 ? [] : parseRights(memory.subarray(at.control, at.control + control));
  const data = Buffer.from(memory.subarray(at.data, at.data + length));
  // A message with descriptors ends a read early; any other short read has emptied the socket.
  return { data, descriptors, lost: (flags & MSG_CTRUNC) !== 0, more: length === dataBytes || control > 0 };
}

/**
 * One byte with one descriptor. False: the socket is full.
 * @throws SystemError with `code`: ETOOMANYREFS too many are under way, EBADF, or the connection has failed
 */
export function sendDescriptor(fd: number, byte: number, descriptor: number): boolean {
  const control = rightsOf(descriptor);
  control.copy(memory, at.control);
  memory[at.data] = byte;
  memory.writeBigUInt64LE(1n, at.vector + 8);
  memory.writeBigUInt64LE(BigInt(control.length), at.message + field.controlLength);
  const sent = Number(bindings.sendmsg(fd, memory, MSG_DONTWAIT | MSG_NOSIGNAL));
  return sent < 0 ? undefinedIfBusy("send a descriptor") !== undefined : true;
}

/** Bytes taken; 0: the socket is full. @throws SystemError with `code` */
export function send(fd: number, data: Uint8Array): number {
  const sent = Number(bindings.send(fd, data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL));
  return sent < 0 ? (undefinedIfBusy("send on a unix socket") ?? 0) : sent;
}

/** Tells the other end that nothing more comes. One that has gone already is no mistake. */
export function endSending(fd: number): void {
  bindings.shutdown(fd, SHUT_WR);
}

/** Another descriptor of the same open file; close-on-exec. @throws SystemError EMFILE, EBADF */
export function duplicate(fd: number): number {
  const copy = bindings.fcntl(fd, F_DUPFD_CLOEXEC, "int", 3);
  if (copy < 0) throw withCode(`duplicate descriptor ${fd}`);
  return copy;
}

export function close(fd: number): void {
  closeSync(fd);
}

export interface FileFacts {
  readonly dev: bigint;
  readonly ino: bigint;
  /** File type bits of st_mode. */
  readonly type: number;
}

const AT_EMPTY_PATH = 0x1000;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_TYPE_AND_INODE = 0x101;
const S_IFMT = 0o170000;

/**
 * What a descriptor refers to, without asking whoever serves its file system: a peer may send a file of a FUSE or network
 * file system that never answers.
 */
export function factsOf(fd: number): FileFacts {
  if (statx === undefined) {
    const stat = fstatSync(fd, { bigint: true });
    return { dev: stat.dev, ino: stat.ino, type: Number(stat.mode) & S_IFMT };
  }
  const status = memory.subarray(at.status, at.status + 256);
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE_AND_INODE, status) < 0) throw withCode(`look at ${fd}`);
  return {
    dev: deviceOf(status.readUInt32LE(136), status.readUInt32LE(140)),
    ino: status.readBigUInt64LE(32),
    type: status.readUInt16LE(28) & S_IFMT,
  };
}

type Statx = (fd: number, path: string, flags: number, mask: number, status: Uint8Array) => number;
const statx = statxOrNone();

/** A C library older than the call has none. */
function statxOrNone(): Statx | undefined {
  try {
    const call = libc.func("int statx(int fd, const char *path, int flags, unsigned int mask, void *status)");
    return (fd, path, flags, mask, status) => Number(call(fd, path, flags, mask, status));
  } catch {
    return undefined;
  }
}

/** makedev(3) of glibc and musl, the st_dev that stat(2) would give. */
function deviceOf(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & 0xfffff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffffff00n) << 12n) | (low & 0xffn);
}

function undefinedIfBusy(verb: string): undefined {
  const number = koffi.errno();
  if (number === errnoNumber("EAGAIN") || number === errnoNumber("EINTR")) return undefined;
  throw Object.assign(systemError(verb, number), { code: errnoName(number) });
}

function withCode(verb: string): Error {
  const number = koffi.errno();
  return Object.assign(systemError(verb, number), { code: errnoName(number) });
}

/** Calls back when the socket can be read or written, as `watch` says; the last word counts. */
export interface Readiness {
  watch(interest: { readonly readable: boolean; readonly writable: boolean }): void;
  /** To be called before the descriptor is closed. */
  close(): void;
}

export function watchReadiness(fd: number, ready: () => void): Readiness {
  const called = (): void => {
    ready();
    // koffi calls from outside of Node's own callbacks: what `ready` left to a later tick would wait for some other event.
    setImmediate(nothing);
  };
  const handle = koffi.node.poll(fd, { readable: true }, called);
  handle.stop();
  let now = "";
  return {
    watch({ readable, writable }) {
      const next = `${readable ? "r" : ""}${writable ? "w" : ""}`;
      if (next === now) return;
      now = next;
      if (next === "") handle.stop();
      else handle.start({ readable, writable }, called);
    },
    close: () => handle.close(),
  };
}

function nothing(): void {}
