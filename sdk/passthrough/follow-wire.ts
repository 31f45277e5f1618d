/**
 * followWire — tells a function in a chain when both interfaces of a connection are there, and again each time one of them has
 * been made anew: what was attached to the old one (a filter, a bridge) went with it.
 */
import { getLink } from "../linux/netlink/links.js";
import { openNetlinkSocket } from "../linux/netlink/socket.js";
import { type NetnsHandle, openOwnNetns } from "../linux/netns.js";
import { pause } from "../pause.js";
import type { Wire } from "./tell-owner-of-wire.js";

/** What to do with a wire that is followed. */
export interface FollowWireOptions {
  /** Joins the interfaces; called again until it succeeds. */
  readonly join: (wire: Wire) => Promise<void>;
  /** Hears of a failure to join, each different one once: nothing passes meanwhile. */
  readonly onProblem?: (error: unknown) => void;
  /** Ends the following, besides the end of the wire. */
  readonly signal?: AbortSignal;
  /** Where the interfaces are; default: our own network namespace. */
  readonly netns?: Pick<NetnsHandle, "fd" | "ino">;
}

/** How soon a new interface is seen, in milliseconds: at first, and later on. */
const eagerMs = 10;
const calmMs = 200;
const eagerForMs = 5_000;

/**
 * For interfaces of the kernel: links of memif come up again by themselves. Resolves when the wire has closed, or with the signal.
 * Never rejects. Call it without waiting: the client's interface is made after our answer.
 */
export async function followWire(wire: Wire, options: FollowWireOptions): Promise<void> {
  const signal = options.signal === undefined ? wire.closed : AbortSignal.any([options.signal, wire.closed]);
  const own = options.netns === undefined ? openOwnNetns() : undefined;
  const socket = openNetlinkSocket(options.netns ?? (own as NetnsHandle));
  const startedMs = performance.now();
  let joined = "";
  let problem = "";
  try {
    while (!signal.aborted) {
      try {
        const pair = [wire.inInterface, wire.outInterface].map((name) => getLink(socket, name)?.index);
        const now = pair.includes(undefined) ? "" : pair.join("-");
        if (now !== "" && now !== joined) {
          await options.join(wire);
          problem = "";
        }
        joined = now;
      } catch (error) {
        const text = String(error);
        if (text !== problem) options.onProblem?.(error);
        problem = text;
      }
      await pause(joined === "" && performance.now() - startedMs < eagerForMs ? eagerMs : calmMs, signal);
    }
  } finally {
    socket.close();
    own?.close();
  }
}
