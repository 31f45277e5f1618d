/**
 * The kernel's check that a packet came from where the answer would go (rp_filter, RFC 3704). While keys are rotated packets
 * arrive on one interface and leave by another, which the strict form refuses; WireGuard itself knows who sent them.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { withNetns } from "../../../sdk/linux/netns.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import type { Place } from "./places.js";

const strict = "1";
const loose = "2";

/** Whether the namespace demands the strict check of all its interfaces; the larger of "all" and the interface's own holds. */
export function isStrictEverywhere({ netns }: Pick<Place, "netns">): boolean {
  return withNetns(netns, () => read("all")) === strict;
}

/** Makes the check of one interface loose where it is strict. */
export function loosenReversePath({ netns }: Pick<Place, "netns">, name: string): void {
  withNetns(netns, () => {
    if (read(name) !== strict) return;
    try {
      writeFileSync(pathOf(name), loose);
    } catch (error) {
      if (!hasErrno(error, "EROFS", "EACCES", "EPERM")) throw error;
    }
  });
}

/** Undefined: it cannot be told. */
function read(name: string): string | undefined {
  try {
    return readFileSync(pathOf(name), "utf8").trim();
  } catch (error) {
    if (hasErrno(error, "ENOENT", "EACCES", "EPERM")) return undefined;
    throw error;
  }
}

function pathOf(name: string): string {
  return `/proc/sys/net/ipv4/conf/${name}/rp_filter`;
}
