/**
 * wireguard-go, WireGuard as a program: one process makes one TUN interface and is configured over a unix socket
 * (sdk/linux/wireguard-uapi.ts). A process is known by its device's name alone: the name is random, stands in the
 * command line, and names the socket, whose listener the kernel tells (SO_PEERCRED).
 */
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Code, statusError } from "../status.js";
import { findExecutable } from "./executable.js";
import { AF_UNIX, closeDescriptor, connectSocket, openSocket } from "./libc.js";
import { type NetnsHandle, spawnInNetns } from "./netns.js";
import { peerCredentials } from "./peer-credentials.js";
import { hasErrno, isSystemError } from "./system-error.js";

/** Ends a sentence about its absence. */
export const wireguardRemedy = "install wireguard-go (apt-get install wireguard-go) and start the forwarder again";

const programName = "wireguard-go";
const folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"];
/** Fixed in the program. */
const socketFolder = "/var/run/wireguard";
const SOCK_STREAM = 1;
const startTimeoutMs = 10_000;
const endTimeoutMs = 2_000;
const pollMs = 5;

/** Path of the program; undefined: it is not installed. */
export function findWireguardGo(): string | undefined {
  return findExecutable(programName, folders);
}

/** A name for a new device; it fits into an interface name. */
export function newDeviceName(): string {
  return `weft${randomBytes(4).toString("hex")}`;
}

export function isDeviceName(value: unknown): value is string {
  return typeof value === "string" && /^weft[0-9a-f]{8}$/.test(value);
}

export function uapiSocketPath(device: string): string {
  return `${socketFolder}/${device}.sock`;
}

/**
 * Starts a process whose TUN interface and UDP socket are in that namespace, in a session of its own: it outlives us.
 * Returns its id when it can be configured.
 * @param env  the environment of the process
 * @throws FAILED_PRECONDITION not installed, or it cannot make an interface here
 */
export async function startWireguardGo(
  netns: Pick<NetnsHandle, "fd" | "ino">,
  device: string,
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  const program = findWireguardGo();
  if (program === undefined) throw statusError(Code.FAILED_PRECONDITION, `${programName} is not installed; ${wireguardRemedy}`);
  const child = spawnInNetns(netns, program, ["-f", device], {
    detached: true,
    stdio: "ignore",
    cwd: "/",
    env: { LOG_LEVEL: "silent", ...env },
  });
  const failed = new AbortController();
  child.once("error", () => failed.abort());
  child.once("exit", () => failed.abort());
  // It is meant to live on when we end.
  child.unref();
  const deadline = performance.now() + startTimeoutMs;
  while (!failed.signal.aborted && performance.now() < deadline) {
    if (child.pid !== undefined && listenerOf(device) === child.pid) return child.pid;
    await delay(pollMs);
  }
  await endWireguardGo(device);
  const why = failed.signal.aborted
    ? `ended with ${child.exitCode ?? child.signalCode}`
    : `did not serve within ${startTimeoutMs} ms`;
  throw statusError(Code.FAILED_PRECONDITION, `${programName} ${why}; \`LOG_LEVEL=debug ${programName} -f weft-try\` says why`);
}

/** Id of the process that serves the device; undefined: none. */
export function findProcess(device: string): number | undefined {
  const listener = listenerOf(device);
  if (listener !== undefined && servesDevice(listener, device)) return listener;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => servesDevice(pid, device) && !isZombie(pid));
}

/**
 * What the process's interface is called now, in whichever namespace it is; undefined: there is no process, or it cannot be looked
 * into. In the description of its descriptor (drivers/net/tun.c, tun_chr_show_fdinfo).
 */
export function interfaceNameOf(device: string): string | undefined {
  const pid = findProcess(device);
  if (pid === undefined) return undefined;
  const folder = `/proc/${pid}/fdinfo`;
  try {
    const names = readdirSync(folder).map((fd) => /^iff:\t(\S+)$/m.exec(readOr(`${folder}/${fd}`))?.[1]);
    return names.find((name) => name !== undefined);
  } catch {
    return undefined;
  }
}

/** Ends the process, its interface and its socket, whatever exists of them. */
export async function endWireguardGo(device: string): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const pid = findProcess(device);
    if (pid === undefined) break;
    sendSignal(pid, signal);
    const deadline = performance.now() + endTimeoutMs;
    while (servesDevice(pid, device) && !isZombie(pid) && performance.now() < deadline) await delay(pollMs);
  }
  rmSync(uapiSocketPath(device), { force: true });
}

/** Waits until the process has its UDP socket on the port: it looks once a second whether its interface is up. */
export async function untilListening(pid: number, udpPort: number, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    if (hasUdpSocket(pid, udpPort)) return true;
    await delay(pollMs);
  }
  return false;
}

/** By the tables of its namespace and its own descriptors (proc(5)): somebody else may have the port. */
function hasUdpSocket(pid: number, udpPort: number): boolean {
  const port = udpPort.toString(16).toUpperCase().padStart(4, "0");
  const inodes = ["udp", "udp6"].flatMap((table) =>
    readOr(`/proc/${pid}/net/${table}`)
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .flatMap(([, local = "", , , , , , , , inode = ""]) => (local.endsWith(`:${port}`) ? [inode] : [])),
  );
  if (inodes.length === 0) return false;
  const own = new Set(descriptorsOf(pid));
  return inodes.some((inode) => own.has(`socket:[${inode}]`));
}

function descriptorsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return "";
      }
    });
  } catch {
    return [];
  }
}

/** Whether somebody listens on the device's socket, also one whose process cannot be seen from here. */
export function isServed(device: string): boolean {
  return connectTo(device, () => true) ?? false;
}

function listenerOf(device: string): number | undefined {
  return connectTo(device, (fd) => peerCredentials(fd).pid || undefined);
}

/** Undefined when nobody listens. */
function connectTo<T>(device: string, use: (fd: number) => T): T | undefined {
  const path = uapiSocketPath(device);
  if (!existsSync(path)) return undefined;
  const fd = openSocket(AF_UNIX, SOCK_STREAM, 0, `open a socket for ${path}`);
  try {
    const address = Buffer.alloc(2 + path.length + 1); // struct sockaddr_un
    address.writeUInt16LE(AF_UNIX);
    address.write(path, 2, "latin1");
    connectSocket(fd, address, `connect to ${path}`);
    return use(fd);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return undefined;
  } finally {
    closeDescriptor(fd);
  }
}

function servesDevice(pid: number, device: string): boolean {
  const [program = "", flag, name] = readOr(`/proc/${pid}/cmdline`).split("\0");
  return basename(program) === programName && flag === "-f" && name === device;
}

function isZombie(pid: number): boolean {
  return /^\d+ \(.*\) [ZX] /.test(readOr(`/proc/${pid}/stat`));
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!hasErrno(error, "ESRCH")) throw error;
  }
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
