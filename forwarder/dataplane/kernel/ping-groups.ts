/**
 * Lets every group open ping sockets (icmp(7)) in the namespaces of a connection, as NSM does, so that a workload without
 * CAP_NET_RAW can ping through it. Set with the first connection of a namespace; what was there before is in the book and
 * comes back with the end of the last one, unless somebody has set something else meanwhile or another forwarder, of which we
 * know by the alias of its interfaces, has connections there.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { listLinks } from "../../../sdk/linux/netlink/links.js";
import { withNetns } from "../../../sdk/linux/netns.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { BuiltLink } from "./built.js";
import type { Place, Places } from "./places.js";

const path = "/proc/sys/net/ipv4/ping_group_range";
const everyGroup = "0 2147483647";

type Home = Pick<BuiltLink, "netnsUrl" | "dev" | "ino">;

export interface PingGroups {
  /** What to note for a new link: the range found before ours; undefined: there is nothing to take back. */
  claim(id: string, place: Place, netnsUrl: string): string | undefined;
  /**
   * These are the links the cross-connect has now; namespaces that it was the last to use get back what was noted. To be
   * called before the book forgets those of before.
   */
  settle(id: string, links: readonly BuiltLink[], places: Places): void;
  /** After a restart: of these links only those given to `settle` are still there. */
  reclaim(links: readonly BuiltLink[], places: Places): void;
}

interface Use {
  readonly home: Home;
  readonly original: string;
  readonly ids: Set<string>;
}

export function createPingGroups(log: Log): PingGroups {
  const uses = new Map<string, Use>();
  const inodesOf = new Map<string, Set<string>>();

  function use(id: string, home: Home, original: string): void {
    const inode = inodeOf(home);
    const known = uses.get(inode) ?? { home, original, ids: new Set() };
    known.ids.add(id);
    uses.set(inode, known);
    inodesOf.set(id, (inodesOf.get(id) ?? new Set()).add(inode));
  }

  function restore(home: Home, original: string, places: Places): void {
    try {
      const place = places.find({
        ...home,
        role: "client",
        name: "",
        macAddress: "",
        group: 0,
        tables: [],
        pingGroups: original,
      });
      if (place === undefined || read(place) !== everyGroup) return;
      if (listLinks(place.socket).some(({ alias }) => alias !== "")) return;
      withNetns(place.netns, () => writeFileSync(path, original));
    } catch (error) {
      log.warn(`could not set ${path} back to ${original}`, { netns: home.netnsUrl, error });
    }
  }

  return {
    claim(id, place, netnsUrl) {
      const home: Home = { netnsUrl, dev: String(place.netns.dev), ino: String(place.netns.ino) };
      const original = uses.get(inodeOf(home))?.original ?? read(place);
      if (original === undefined || original === everyGroup) return undefined;
      use(id, home, original);
      return original;
    },
    settle(id, links, places) {
      for (const link of links) if (link.pingGroups !== undefined) use(id, link, link.pingGroups);
      const still = new Set(links.map(inodeOf));
      const inodes = inodesOf.get(id) ?? new Set<string>();
      for (const inode of inodes) {
        if (still.has(inode)) continue;
        inodes.delete(inode);
        const known = uses.get(inode);
        known?.ids.delete(id);
        if (known === undefined || known.ids.size > 0) continue;
        uses.delete(inode);
        restore(known.home, known.original, places);
      }
      if (inodes.size === 0) inodesOf.delete(id);
    },
    reclaim(links, places) {
      for (const link of links) {
        if (link.pingGroups !== undefined && !uses.has(inodeOf(link))) restore(link, link.pingGroups, places);
      }
    },
  };
}

/** Opens the range in the namespace of a link whose earlier range is noted. */
export function openPingGroups({ netns }: Place, { pingGroups }: Pick<BuiltLink, "pingGroups">): void {
  if (pingGroups === undefined) return;
  try {
    withNetns(netns, () => writeFileSync(path, everyGroup));
  } catch (error) {
    // A user namespace that maps fewer groups, or /proc/sys is read-only: pinging then needs CAP_NET_RAW, as everywhere else.
    if (!hasErrno(error, "EINVAL", "EROFS", "EACCES", "EPERM")) throw error;
  }
}

function read({ netns }: Place): string | undefined {
  try {
    return withNetns(netns, () => readFileSync(path, "utf8"))
      .trim()
      .replace(/\s+/, " ");
  } catch (error) {
    if (hasErrno(error, "ENOENT", "EACCES", "EPERM")) return undefined;
    throw error;
  }
}

function inodeOf({ dev, ino }: Pick<BuiltLink, "dev" | "ino">): string {
  return `${dev}/${ino}`;
}
