/** Whether a unix connection must pass descriptors, and how an ordinary socket becomes one that does. */
import { statSync } from "node:fs";
import type { Socket } from "node:net";
import { duplicate } from "../../linux/descriptors.js";
import type { Descriptors } from "../../peer.js";
import { descriptorOf } from "../unix-peer.js";
import { openPassingStream } from "./passing-stream.js";
import { socketOver } from "./stream-socket.js";

/**
 * When to pass descriptors: always, never, or with those who do not share our view of processes. With others paths under
 * /proc do the same, and an ordinary socket costs less.
 */
export type PassDescriptors = "always" | "never" | "elsewhere";

let byDefault: PassDescriptors = "elsewhere";

/** For connections made from now on whose maker says nothing. */
export function setDefaultPassing(when: PassDescriptors): void {
  byDefault = when;
}

export function defaultPassing(): PassDescriptors {
  return byDefault;
}

/** @param pid  of the peer, as SO_PEERCRED gives it: 0 = not visible from here */
export function mustPass(when: PassDescriptors, pid: number): boolean {
  if (when !== "elsewhere") return when === "always";
  return pid <= 0 || !sharesOurView(pid);
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

let ownView: bigint | undefined;

function sharesOurView(pid: number): boolean {
  try {
    ownView ??= statSync("/proc/self/ns/pid", { bigint: true }).ino;
    return statSync(`/proc/${pid}/ns/pid`, { bigint: true }).ino === ownView;
  } catch {
    // gone, or of another user: then its paths are closed to us as well
    return false;
  }
}
