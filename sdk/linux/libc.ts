/**
 * System calls that Node lacks, through koffi's binding of the C library this process already runs on (glibc or musl).
 *
 * Each wrapper throws a SystemError on failure. `verb` names what was attempted, for the error's text.
 * Nothing here blocks unless its docstring says so. Constants are those of the Linux UAPI headers.
 */
import koffi from "koffi";
import { systemError } from "./system-error.js";

const libc = koffi.load(null);
// without names: those are one for a whole process, and another copy of this file may run in it (@weft/sdk, @weft/testing)
const iovec = koffi.struct({ base: "void *", length: "size_t" });
const msghdr = koffi.struct({
  name: "void *",
  nameLength: "uint32_t",
  vectors: koffi.pointer(iovec),
  vectorCount: "size_t",
  control: "void *",
  controlLength: "size_t",
  flags: "int",
});
const bindings = {
  socket: libc.func("int socket(int domain, int type, int protocol)"),
  bind: libc.func("int bind(int fd, const void *address, uint32_t length)"),
  connect: libc.func("int connect(int fd, const void *address, uint32_t length)"),
  getsockname: libc.func("int getsockname(int fd, void *address, void *length)"),
  getsockopt: libc.func("int getsockopt(int fd, int level, int option, void *value, void *length)"),
  setsockopt: libc.func("int setsockopt(int fd, int level, int option, const void *value, uint32_t length)"),
  send: libc.func("intptr_t send(int fd, const void *data, size_t length, int flags)"),
  sendto: libc.func(
    "intptr_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)",
  ),
  recv: libc.func("intptr_t recv(int fd, void *data, size_t length, int flags)"),
  recvfrom: libc.func("intptr_t recvfrom(int fd, void *data, size_t length, int flags, void *address, void *addressLength)"),
  recvmsg: libc.func("recvmsg", "intptr_t", ["int", koffi.inout(koffi.pointer(msghdr)), "int"]),
  setns: libc.func("int setns(int fd, int type)"),
  unshare: libc.func("int unshare(int flags)"),
  mount: libc.func("int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)"),
  umount2: libc.func("int umount2(const char *target, int flags)"),
  ioctl: libc.func("int ioctl(int fd, unsigned long request, void *argument)"),
  close: libc.func("int close(int fd)"),
};

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
/** A descriptor that has an error for ever must not hold its reader up. */
const maxReportedErrors = 1_000;
export const MSG_PEEK = 0x02;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const CLONE_NEWNET = 0x40000000;
export const MS_BIND = 4096;
export const MS_REC = 16384;
export const MS_SHARED = 1 << 20;
export const MNT_DETACH = 2;

/** socket(2); always close-on-exec. */
export function openSocket(domain: number, type: number, protocol: number, verb: string): number {
  return checked(bindings.socket(domain, type | SOCK_CLOEXEC, protocol), verb);
}

export function bindSocket(fd: number, address: Uint8Array, verb: string): void {
  checked(bindings.bind(fd, address, address.length), verb);
}

export function connectSocket(fd: number, address: Uint8Array, verb: string): void {
  checked(bindings.connect(fd, address, address.length), verb);
}

/** Own address of a socket, at most 128 bytes (sockaddr_storage). */
export function socketName(fd: number, verb: string): Uint8Array {
  const address = Buffer.alloc(128);
  const length = Buffer.alloc(4);
  length.writeInt32LE(address.length);
  checked(bindings.getsockname(fd, address, length), verb);
  return address.subarray(0, length.readInt32LE());
}

/** Value of a socket option, at most `size` bytes. */
export function socketOption(fd: number, level: number, option: number, size: number, verb: string): Buffer {
  const value = Buffer.alloc(size);
  const length = Buffer.alloc(4);
  length.writeInt32LE(size);
  checked(bindings.getsockopt(fd, level, option, value, length), verb);
  return value.subarray(0, length.readInt32LE());
}

export function setSocketOption(fd: number, level: number, option: number, value: number, verb: string): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  checked(bindings.setsockopt(fd, level, option, bytes, bytes.length), verb);
}

/** setsockopt(2) with a struct sock_fprog (linux/filter.h): instructions of 8 bytes each. */
export function setSocketProgram(fd: number, option: number, program: Buffer, verb: string): void {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(program.length / 8, 0);
  bytes.writeBigUInt64LE(koffi.address(program), 8);
  checked(bindings.setsockopt(fd, SOL_SOCKET, option, bytes, bytes.length), verb);
}

/** Everything the socket sends leaves by this interface, and only what comes in there reaches it (socket(7)). */
export function bindToDevice(fd: number, interfaceName: string): void {
  const name = Buffer.from(`${interfaceName}\0`);
  checked(bindings.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length), `bind to interface ${interfaceName}`);
}

/** send(2); on a netlink socket it returns when the kernel has worked on all messages. */
export function send(fd: number, data: Uint8Array, verb: string): void {
  checked(Number(bindings.send(fd, data, data.length, 0)), verb);
}

/** send(2) on a pool thread: for requests on which the kernel sleeps. The error number is not known, only that it failed. */
export async function sendOnThread(fd: number, data: Uint8Array, verb: string): Promise<void> {
  const result = await new Promise<number>((resolve, reject) => {
    bindings.send.async(fd, data, data.length, 0, (error: Error | null, sent: number | bigint) =>
      error ? reject(error) : resolve(Number(sent)),
    );
  });
  if (result < 0) throw systemError(verb, 0, "send on a pool thread failed");
}

export function sendTo(fd: number, data: Uint8Array, address: Uint8Array, verb: string): void {
  checked(Number(bindings.sendto(fd, data, data.length, 0, address, address.length)), verb);
}

/** sendto(2) of a packet that may be lost: false when the kernel refuses it, for whatever reason. */
export function trySendTo(fd: number, data: Uint8Array, address: Uint8Array): boolean {
  return Number(bindings.sendto(fd, data, data.length, MSG_DONTWAIT, address, address.length)) >= 0;
}

/**
 * recv(2) without blocking, of packets that may be lost: errors that routers report come as errors of recv(2); they are no packet,
 * and more may wait behind them. Undefined: nothing there.
 */
export function tryReceive(fd: number, buffer: Uint8Array): number | undefined {
  for (let errors = 0; errors < maxReportedErrors; errors++) {
    const result = Number(bindings.recv(fd, buffer, buffer.length, MSG_DONTWAIT));
    if (result >= 0) return result;
    if (koffi.errno() === koffi.os.errno["EAGAIN"]) return undefined;
  }
  return undefined;
}

/** recv(2) into `buffer`. With MSG_TRUNC in `flags` the result may be larger than the buffer. Undefined: nothing there (EAGAIN). */
export function receive(fd: number, buffer: Uint8Array, flags: number, verb: string): number | undefined {
  const result = Number(bindings.recv(fd, buffer, buffer.length, flags));
  if (result >= 0) return result;
  const number = koffi.errno();
  if (number === koffi.os.errno["EAGAIN"]) return undefined;
  throw systemError(verb, number);
}

/** recvfrom(2) without blocking. Undefined: nothing there. */
export function receiveFrom(fd: number, buffer: Uint8Array, verb: string): { length: number; address: Buffer } | undefined {
  const address = Buffer.alloc(128);
  const addressLength = Buffer.alloc(4);
  addressLength.writeInt32LE(address.length);
  const result = Number(bindings.recvfrom(fd, buffer, buffer.length, MSG_DONTWAIT, address, addressLength));
  if (result >= 0) return { length: result, address: address.subarray(0, addressLength.readInt32LE()) };
  const number = koffi.errno();
  if (number === koffi.os.errno["EAGAIN"]) return undefined;
  throw systemError(verb, number);
}

/**
 * recvmsg(2) without blocking, with the control messages that came along (cmsg(3)). Undefined: nothing there.
 * @throws SystemError ENOBUFS: messages were lost because nobody read them in time
 */
export function receiveMessage(fd: number, buffer: Uint8Array, verb: string): { length: number; control: Buffer } | undefined {
  const control = Buffer.alloc(256);
  const vectors = [{ base: buffer, length: buffer.length }];
  const message = { name: null, nameLength: 0, vectors, vectorCount: 1, control, controlLength: control.length, flags: 0 };
  const result = Number(bindings.recvmsg(fd, message, MSG_DONTWAIT | MSG_TRUNC));
  if (result >= 0) return { length: result, control: control.subarray(0, Number(message.controlLength)) };
  const number = koffi.errno();
  if (number === koffi.os.errno["EAGAIN"]) return undefined;
  throw systemError(verb, number);
}

/** setns(2) of the calling thread only. No `await` may stand between going in and coming back. */
export function setNamespace(fd: number, type: number, verb: string): void {
  checked(bindings.setns(fd, type), verb);
}

/** unshare(2) of the calling thread only. */
export function unshare(flags: number, verb: string): void {
  checked(bindings.unshare(flags), verb);
}

export function mount(source: string, target: string, type: string, flags: number, data: string | null, verb: string): void {
  checked(bindings.mount(source, target, type, flags, data), verb);
}

export function unmount(target: string, flags: number, verb: string): void {
  checked(bindings.umount2(target, flags), verb);
}

/** ioctl(2); `argument` is read and written in place, or null. */
export function ioctl(fd: number, request: number, argument: Uint8Array | null, verb: string): number {
  return checked(bindings.ioctl(fd, request, argument), verb);
}

/** close(2); a descriptor that is already closed is a mistake of the caller and throws EBADF. */
export function closeDescriptor(fd: number): void {
  checked(bindings.close(fd), `close descriptor ${fd}`);
}

/** close(2) on a pool thread, for a socket in whose closing the kernel sleeps. What it says is of no use to anybody. */
export function closeOnThread(fd: number): void {
  bindings.close.async(fd, () => {});
}

function checked(result: number, verb: string): number {
  if (result < 0) throw systemError(verb, koffi.errno());
  return result;
}

/** Calls back on the event loop while the descriptor is readable; the process stays alive until closed. Close it before the descriptor. */
export function pollReadable(fd: number, readable: () => void): { close(): void } {
  const handle = koffi.node.poll(fd, { readable: true }, readable);
  return { close: () => handle.close() };
}
