/**
 * A gRPC server on any number of unix sockets and TCP ports.
 * Connections are accepted by our own sockets, which learn who is there (SO_PEERCRED, unix(7)), and handed to gRPC.
 */
import { setMaxListeners } from "node:events";
import { chmodSync, lstatSync, mkdirSync, renameSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server as NetServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import type { Identity } from "../identity/identity.js";
import { Code, statusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { type Address, formatAddress, parseAddress } from "./address.js";
import { defaultPassing, mustPass, type PassDescriptors, takeOver } from "./descriptors/take-over.js";
import { type CallReport, createEdge, type ServiceBinding } from "./edge.js";
import { type Entrance, type NetworkPeer, openEntrance, peerOf } from "./entrance.js";
import type { Gate } from "./gate.js";
import { createGrpcServer } from "./h2/server.js";

/** Bounds of a server. Request headers: 64 KiB and 128 pairs, sdk/transport/h2/header-decoder.ts. */
export interface Limits {
  /** One message, either way, in bytes. */
  readonly maxMessageBytes: number;
  /** Calls and streams open on one connection. */
  readonly maxStreamsPerConnection: number;
  /** Unary calls in progress in the whole server. */
  readonly maxCalls: number;
  /** Streams open in the whole server. */
  readonly maxStreams: number;
  /** Connections per address; further ones are closed at once. */
  readonly maxConnections: number;
  /** Connections of one identity; further ones are closed after the handshake. */
  readonly maxConnectionsPerPeer: number;
  /** Time for a new connection to speak HTTP/2, or to finish its TLS handshake. */
  readonly helloTimeoutMs: number;
}

export const defaultLimits: Limits = {
  maxMessageBytes: 4 * 1024 * 1024,
  maxStreamsPerConnection: 2000,
  maxCalls: 10_000,
  maxStreams: 50_000,
  maxConnections: 20_000,
  maxConnectionsPerPeer: 1_000,
  helloTimeoutMs: 20_000,
};

export interface ListenOptions {
  /** Forms of address.ts; port 0 = a free one. */
  readonly urls: readonly string[];
  readonly services: readonly ServiceBinding[];
  /** Absent = plain text; else mutual TLS, and who shows no valid identity is turned away. */
  readonly identity?: Identity | undefined;
  /** Lets clients without any certificate in, with it no `identity` of the peer: for who hands out certificates. */
  readonly strangersWelcome?: boolean | undefined;
  readonly limits?: Partial<Limits> | undefined;
  /** On unix sockets; default: where they are needed. */
  readonly passDescriptors?: PassDescriptors | undefined;
  readonly log: Log;
  /** Aborting it stops the server at once. */
  readonly signal: AbortSignal;
  /** Told of every finished call, for metrics. */
  readonly onCall?: ((report: CallReport) => void) | undefined;
  /** Who is refused by name. */
  readonly gate?: Gate | undefined;
}

export interface Listener {
  /** The urls in their one spelling, with the real ports. */
  readonly urls: readonly string[];
  /**
   * Stops: no new connection or call, streams end with UNAVAILABLE, unary calls get `timeoutMs` to finish and are then
   * aborted. Afterwards nothing is left open. A second call waits for the first.
   */
  drain(timeoutMs: number): Promise<void>;
}

/**
 * Connections that may wait to be accepted; the kernel allows as many by default (net.core.somaxconn). With Node's 511, those
 * who come back together after a restart are let wait a second by TCP, and are turned away by a unix socket.
 */
const backlog = 4_096;
/** Time that aborted calls get to send their status before the connections are cut. */
const farewellMs = 500;

/**
 * @throws ALREADY_EXISTS an address is taken by a living process; INVALID_ARGUMENT a url is malformed;
 *         PERMISSION_DENIED or FAILED_PRECONDITION the address cannot be opened, with the remedy
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  options.signal.throwIfAborted();
  // The signal of a whole process has one listener for each thing in it; Node warns of a leak at eleven.
  setMaxListeners(0, options.signal);
  const limits: Limits = { ...defaultLimits, ...options.limits };
  const addresses = options.urls.map(parseAddress);
  const control = createEdge(
    { ...limits, log: options.log, onCall: options.onCall, gate: options.gate },
    options.services.map((service) => service.name),
  );
  for (const service of options.services) service.bind(control.edge);
  const entrance = openEntrance(createGrpcServer({ ...limits, methods: control.methods }), { ...limits, ...options });
  const sockets = new Set<Socket>();
  const passing = options.passDescriptors ?? defaultPassing();
  const accept = (accepted: Socket, address: Address): void => {
    const { socket, peer } = arrive(accepted, peerOf(accepted, address), passing);
    if (socket === undefined || sockets.size >= limits.maxConnections * addresses.length) {
      (socket ?? accepted).destroy();
      return;
    }
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    greet(socket, limits.helloTimeoutMs);
    if (address.kind === "tcp") socket.setNoDelay(true);
    entrance.enter(socket, peer, limits.helloTimeoutMs);
  };
  const doors: NetServer[] = [];
  const urls: string[] = [];
  try {
    for (const address of addresses) {
      const door = await openDoor(address, (socket) => accept(socket, address), limits.maxConnections);
      doors.push(door);
      urls.push(formatAddress(realAddress(address, door)));
    }
  } catch (error) {
    for (const door of doors) door.close();
    entrance.close();
    throw error;
  }
  const stop = once(async (timeoutMs: number) => {
    options.signal.removeEventListener("abort", stopNow);
    const closed = doors.map(closeDoor);
    await control.drain(timeoutMs);
    await hangUp(entrance, sockets);
    await Promise.all(closed);
  });
  const stopNow = (): void => void stop(0);
  options.signal.addEventListener("abort", stopNow);
  return { urls, drain: stop };
}

/** The socket to go on with: one that passes descriptors where they are needed; none when it has gone or there are too many. */
function arrive(accepted: Socket, peer: NetworkPeer, when: PassDescriptors): { socket: Socket | undefined; peer: NetworkPeer } {
  if (peer.kind !== "unix" || !mustPass(when, peer.pid)) return { socket: accepted, peer };
  try {
    const { socket, descriptors } = takeOver(accepted);
    return { socket, peer: { ...peer, descriptors } };
  } catch {
    return { socket: undefined, peer };
  }
}

/** A connection that never speaks is closed: it would hold a descriptor for ever. */
function greet(socket: Socket, helloTimeoutMs: number): void {
  const timer = setTimeout(() => {
    if (socket.bytesRead === 0) socket.destroy();
  }, helloTimeoutMs);
  socket.once("close", () => clearTimeout(timer));
  socket.on("error", () => socket.destroy());
}

async function openDoor(address: Address, accept: (socket: Socket) => void, maxConnections: number): Promise<NetServer> {
  if (address.kind === "unix") await clearSocketPath(address);
  const door = createServer(accept);
  door.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    door.once("error", (error: NodeJS.ErrnoException) => reject(listenError(address, error)));
    const place = address.kind === "unix" ? { path: address.path } : { port: address.port, host: address.host || undefined };
    door.listen({ ...(place as { port: number }), backlog }, resolve);
  });
  door.removeAllListeners("error");
  // An error of accept (no descriptor left) must not end the process; the connection is lost, the door stays open.
  door.on("error", () => {});
  if (address.kind === "unix") chmodSync(address.path, 0o777);
  return door;
}

/** Makes room for a unix socket: removes one that nobody serves any more, and nothing else. */
async function clearSocketPath(address: Address & { kind: "unix" }): Promise<void> {
  const { path } = address;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o777 });
  } catch (error) {
    throw listenError(address, error as NodeJS.ErrnoException);
  }
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw statusError(Code.ALREADY_EXISTS, `${path} exists and is no socket; move it away or listen elsewhere`);
  }
  const outcome = await knock(path);
  if (outcome === "answered") {
    throw statusError(Code.ALREADY_EXISTS, `another process listens on unix://${path}; stop it or choose another path`);
  }
  if (outcome === "ECONNREFUSED") await removeStale(path);
  else if (outcome !== "ENOENT") throw statusError(Code.FAILED_PRECONDITION, `socket ${path} is in the way: ${outcome}`);
}

/**
 * Two processes may find the same stale socket at one time, and the slower would remove what the faster has just made:
 * so it is moved aside and looked at again before it goes.
 */
async function removeStale(path: string): Promise<void> {
  const aside = join(dirname(path), `.${process.pid}`);
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if ((await knock(aside)) === "answered") {
    renameSync(aside, path);
    throw statusError(Code.ALREADY_EXISTS, `another process listens on unix://${path}; stop it or choose another path`);
  }
  unlinkSync(aside);
}

function knock(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve("answered");
    });
    // EAGAIN: its queue of waiting connections is full, so somebody owns it
    socket.once("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code === "EAGAIN" ? "answered" : (error.code ?? "unknown")),
    );
  });
}

function listenError(address: Address, error: NodeJS.ErrnoException): Error {
  const url = formatAddress(address);
  const errno = error.code ?? "unknown error";
  if (errno === "EADDRINUSE") {
    return statusError(Code.ALREADY_EXISTS, `another process listens on ${url}; stop it or choose another address`, error);
  }
  if (errno === "EACCES" || errno === "EPERM") {
    return statusError(
      Code.PERMISSION_DENIED,
      `listen on ${url}: ${errno}; run as a user who may, or choose another address`,
      error,
    );
  }
  return statusError(Code.FAILED_PRECONDITION, `listen on ${url}: ${errno}`, error);
}

function realAddress(address: Address, door: NetServer): Address {
  const bound = door.address();
  if (address.kind === "unix" || bound === null || typeof bound === "string") return address;
  return { ...address, port: bound.port };
}

/** Closing a unix door also removes its socket file. */
function closeDoor(door: NetServer): Promise<void> {
  return new Promise((resolve) => door.close(() => resolve()));
}

/** Ends all connections: politely, then by force. */
async function hangUp(entrance: Entrance, sockets: ReadonlySet<Socket>): Promise<void> {
  entrance.close();
  const open = [...sockets];
  if (open.length === 0) return;
  const closed = Promise.all(open.map((socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()))));
  const timer = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, farewellMs);
  await closed;
  clearTimeout(timer);
}

function once(action: (timeoutMs: number) => Promise<void>): (timeoutMs: number) => Promise<void> {
  let running: Promise<void> | undefined;
  return (timeoutMs) => {
    running ??= action(timeoutMs);
    return running;
  };
}
