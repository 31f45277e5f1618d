/**
 * Open namespaces and the routing sockets in them, for the length of one operation. Nothing is kept open in between:
 * a namespace that we hold could not end with its pod.
 */
import { getLink, type Link, listLinks } from "../../../sdk/linux/netlink/links.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { type NetnsHandle, openNetns } from "../../../sdk/linux/netns.js";
import { getLinkByNumber, listLinksByNumber, openNetnsByNumber } from "../../../sdk/linux/netns-by-number.js";
import { isStatusError } from "../../../sdk/status.js";
import { type BuiltLink, isParkedName } from "./built.js";
import { isMoved } from "./tunnel-device.js";
import { kindOfTun } from "./tuns.js";

export interface Place {
  readonly netns: NetnsHandle;
  readonly socket: NetlinkSocket;
}

export interface Places {
  /** @throws NOT_FOUND, INVALID_ARGUMENT, PERMISSION_DENIED as `openNetns` */
  open(netnsUrl: string): Place;
  /** The namespace in which the link was made, wherever it is found now; undefined: it has ended. */
  find(link: BuiltLink): Place | undefined;
  /**
   * The same as far as a path leads there. The way by number holds up everybody who works on interfaces for about 40 ms, and the pod
   * whose namespace no path leads to any more has most often just gone, with many links.
   */
  findByPath(link: BuiltLink): Place | undefined;
}

/** The forwarder's own namespace, and a routing socket in it. */
export interface Home {
  readonly home: NetnsHandle;
  readonly own: NetlinkSocket;
}

/**
 * Runs an operation and closes all it has opened.
 * @param from  whose numbers lead to namespaces that no path leads to; undefined: only paths do
 */
export async function withPlaces<T>(from: Home | undefined, run: (places: Places) => T | Promise<T>): Promise<T> {
  const byInode = new Map<string, Place>();
  const opened = new Map<string, Place>();
  const adopt = (netns: NetnsHandle): Place => {
    const inode = `${netns.dev}/${netns.ino}`;
    const known = byInode.get(inode);
    if (known !== undefined) {
      netns.close();
      return known;
    }
    const place = { netns, socket: openSocketOrClose(netns) };
    byInode.set(inode, place);
    return place;
  };
  const adoptIfOpen = (netns: NetnsHandle | undefined): Place | undefined => netns && adopt(netns);
  const places: Places = {
    open(netnsUrl) {
      const place = opened.get(netnsUrl) ?? adopt(openNetns(netnsUrl));
      opened.set(netnsUrl, place);
      return place;
    },
    find: (link) => places.findByPath(link) ?? adoptIfOpen(openBuiltByNumber(link, from)),
    findByPath: (link) => byInode.get(`${link.dev}/${link.ino}`) ?? adoptIfOpen(openBuiltByPath(link)),
  };
  try {
    return await run(places);
  } finally {
    for (const { netns, socket } of byInode.values()) {
      socket.close();
      netns.close();
    }
  }
}

/** The interface that is ours, also when somebody has renamed it; undefined when it is gone or another one has its name. */
export function findLink(place: Place, built: Pick<BuiltLink, "name" | "macAddress" | "tun">): Link | undefined {
  const link = findExactLink(place, built);
  if (link !== undefined) return link;
  return onlyOurs(listLinks(place.socket), built);
}

/** The interface with that name, if it is ours. */
export function findExactLink({ socket }: Place, built: Pick<BuiltLink, "name" | "macAddress" | "tun">): Link | undefined {
  const link = getLink(socket, built.name, "without-statistics");
  return link !== undefined && isOurs(link, built) ? link : undefined;
}

function onlyOurs(links: readonly Link[], built: Pick<BuiltLink, "macAddress" | "tun">): Link | undefined {
  // two tunnels of one client have one alias, and only their processes tell which is whose
  const candidates = links.filter((each) => isOurs(each, built) && (built.tun === undefined || isMoved(built.tun, each.name)));
  return candidates.length === 1 && !isParkedName(candidates[0]?.name ?? "") ? candidates[0] : undefined;
}

function isOurs(link: Link, { macAddress, tun }: Pick<BuiltLink, "macAddress" | "tun">): boolean {
  if (tun !== undefined) return link.kind === kindOfTun(tun) && link.alias === tun.alias;
  return link.macAddress === macAddress && (link.kind === "veth" || link.kind === "vxlan");
}

/** The interface that is ours, found without opening its namespace; undefined: try the other way. */
export function findLinkByNumber(own: NetlinkSocket, built: BuiltLink): Link | undefined {
  const link = built.number === undefined ? undefined : getLinkByNumber(own, built.number, built.name);
  return link !== undefined && isOurs(link, built) ? link : undefined;
}

/** The same, also when somebody has renamed it. */
export function findRenamedByNumber(own: NetlinkSocket, built: BuiltLink): Link | undefined {
  if (built.number === undefined) return undefined;
  return onlyOurs(listLinksByNumber(own, built.number) ?? [], built);
}

/** Whether a namespace has its number; another one may have got it since. */
export function isNamespaceKnown(own: NetlinkSocket, { number }: BuiltLink): boolean {
  return number !== undefined && getLinkByNumber(own, number, "lo") !== undefined;
}

function openBuiltByPath(link: BuiltLink): NetnsHandle | undefined {
  for (const url of [link.netnsUrl, `inode://${link.dev}/${link.ino}`]) {
    try {
      const netns = openNetns(url);
      if (String(netns.ino) === link.ino && String(netns.dev) === link.dev) return netns;
      netns.close();
    } catch (error) {
      // Not there, or not a namespace any more: the other way may still lead there.
      if (!isStatusError(error)) throw error;
    }
  }
  return undefined;
}

function openBuiltByNumber(link: BuiltLink, from: Home | undefined): NetnsHandle | undefined {
  const netns = link.number === undefined || from === undefined ? undefined : openNetnsByNumber(from.home, from.own, link.number);
  if (netns === undefined || (String(netns.ino) === link.ino && String(netns.dev) === link.dev)) return netns;
  netns.close();
  return undefined;
}

function openSocketOrClose(netns: NetnsHandle): NetlinkSocket {
  try {
    return openNetlinkSocket(netns);
  } catch (error) {
    netns.close();
    throw error;
  }
}
