/** Whether a unix connection must pass descriptors, and how an ordinary socket becomes one that does. */
import { statSync } from "node:fs";
import type { Socket } from "node:net";
import { duplicate } from "../../linux/descriptors.js";
import type { Descriptors } from "../../peer.js";
import { descriptorOf } from "../unix-peer.js";
import { openPassingStream } from "./passing-stream.js";
import { socketOver } from "./stream-socket.js";

/**
 * When to pass descriptors: always, never, or where they are needed. Another Weft process with our view of processes names
 * files by paths under /proc, and an ordinary socket costs less; anybody else may await descriptors.
 */
export type PassDescriptors = "always" | "never" | "where needed";

let byDefault: PassDescriptors = "where needed";

/** For connections made from now on whose maker says nothing. */
export function setDefaultPassing(when: PassDescriptors): void {
  byDefault = when;
}

export function defaultPassing(): PassDescriptors {
  return byDefault;
}

/** @param pid  of the peer, as SO_PEERCRED gives it: 0 = not visible from here */
export function mustPass(when: PassDescriptors, pid: number): boolean {
  if (when !== "where needed") return when === "always";
  return pid <= 0 || !isKin(pid);
}

export interface PassingSocket {
  /** Takes the place of the one given. */
  readonly socket: Socket;
  readonly descriptors: Descriptors;
}

/**
 * Takes a connected unix socket over, in the tick in which it was connected or accepted: what is read before is read
 * without its descriptors.
 * @throws SystemError EMFILE; Error it is no open socket
 */
export function takeOver(socket: Socket): PassingSocket {
  const fd = descriptorOf(socket);
  if (fd === undefined) throw new Error("the socket is closed");
  const passing = openPassingStream(duplicate(fd));
  try {
    const taken = socketOver(passing.stream);
    // closes the descriptor that Node has; the connection goes on through ours
    socket.destroy();
    return { socket: taken, descriptors: passing.descriptors };
  } catch (error) {
    passing.stream.destroy();
    throw error;
  }
}

let own: { readonly view: bigint; readonly program: bigint } | undefined;

/** Whether that process sees the processes that we see, and runs the program that we run. */
function isKin(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    own ??= { view: inodeNumber("self/ns/pid"), program: inodeNumber("self/exe") };
    return inodeNumber(`${pid}/ns/pid`) === own.view && inodeNumber(`${pid}/exe`) === own.program;
  } catch {
    // gone, or of another user: then its paths are closed to us as well
    return false;
  }
}

function inodeNumber(path: string): bigint {
  return statSync(`/proc/${path}`, { bigint: true }).ino;
}
