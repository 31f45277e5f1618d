/**
 * Whether an interface of one namespace still carries packets, as the kernel tells it at once: deleted, set down, or its other end
 * gone. Needs no privilege. One socket for each namespace, however many interfaces are watched.
 */
import * as libc from "../libc.js";
import { openNetns, openOwnNetns, withNetns } from "../netns.js";
import { hasErrno } from "../system-error.js";
import { decodeMessages } from "./codec.js";
import { decodeLinkEvent } from "./link-events.js";
import { getLink } from "./links.js";
import { type NetlinkSocket, openNetlinkSocket } from "./socket.js";

export interface OwnLinkWatch {
  /** Whether it carries packets now. */
  lives(): boolean;
  /** Packets it has received since it was made; undefined: it is gone. */
  received(): bigint | undefined;
  close(): void;
}

interface Namespace {
  readonly socket: NetlinkSocket;
  readonly watchers: Set<(index: number) => void>;
  close(): void;
}

const NETLINK_ROUTE = 0;
const RTMGRP_LINK = 1;
const open = new Map<string, Namespace>();

/**
 * Watches the interface that has this name now, also under another name later, and its successor under the same name.
 * Undefined: there is no such interface, or the namespace cannot be opened.
 * @param onLoss  called when it has stopped to carry packets; not for one that was found dead at the start
 */
export function watchOwnLink(netnsUrl: string | undefined, name: string, onLoss: () => void): OwnLinkWatch | undefined {
  let namespace: Namespace;
  try {
    namespace = namespaceAt(netnsUrl ?? "");
  } catch {
    return undefined;
  }
  const { socket, watchers } = namespace;
  const carries = (which: string | number): number | undefined => {
    const link = getLink(socket, which, "without-statistics");
    return link?.up && link.carrier ? link.index : undefined;
  };
  let index = getLink(socket, name, "without-statistics")?.index;
  let lived = index !== undefined && carries(index) !== undefined;
  const lives = (): boolean => {
    const now = (index === undefined ? undefined : carries(index)) ?? carries(name);
    if (now !== undefined) index = now;
    return now !== undefined;
  };
  const look = (changed: number): void => {
    if (changed !== index && changed !== 0) return;
    const now = lives();
    if (lived && !now) onLoss();
    lived = now;
  };
  if (index === undefined) {
    if (watchers.size === 0) namespace.close();
    return undefined;
  }
  watchers.add(look);
  return {
    lives,
    received: () => (lives() && index !== undefined ? getLink(socket, index)?.statistics?.rxPackets : undefined),
    close() {
      if (watchers.delete(look) && watchers.size === 0) namespace.close();
    },
  };
}

/** @throws as openNetns; SystemError */
function namespaceAt(netnsUrl: string): Namespace {
  const known = open.get(netnsUrl);
  if (known !== undefined) return known;
  const netns = netnsUrl === "" ? openOwnNetns() : openNetns(netnsUrl);
  try {
    const socket = openNetlinkSocket(netns);
    const fd = withNetns(netns, () => libc.openSocket(libc.AF_NETLINK, libc.SOCK_RAW, NETLINK_ROUTE, "watch interfaces"));
    const address = Buffer.alloc(12); // struct sockaddr_nl
    address.writeUInt16LE(libc.AF_NETLINK, 0);
    address.writeUInt32LE(RTMGRP_LINK, 8);
    libc.bindSocket(fd, address, "watch interfaces");
    const watchers = new Set<(index: number) => void>();
    const tell = (index: number): void => {
      for (const watcher of [...watchers]) watcher(index);
    };
    const poll = libc.pollReadable(fd, () => readEvents(fd, tell));
    const namespace: Namespace = {
      socket,
      watchers,
      close() {
        open.delete(netnsUrl);
        poll.close();
        libc.closeDescriptor(fd);
        socket.close();
      },
    };
    open.set(netnsUrl, namespace);
    return namespace;
  } finally {
    // Kept open it would keep the namespace of a pod that has gone; the sockets do so only as long as somebody watches.
    netns.close();
  }
}

const buffer = Buffer.alloc(65536);

/** 0 stands for every interface: events were lost. */
function readEvents(fd: number, tell: (index: number) => void): void {
  for (;;) {
    let length: number | undefined;
    try {
      length = libc.receive(fd, buffer, libc.MSG_DONTWAIT, "receive link events");
    } catch (error) {
      if (!hasErrno(error, "ENOBUFS")) throw error;
      tell(0);
      continue;
    }
    if (length === undefined) return;
    for (const message of decodeMessages(Buffer.from(buffer.subarray(0, length)))) {
      const event = decodeLinkEvent(message);
      if (event !== undefined && (event.gone || !event.up || !event.carrier)) tell(event.index);
    }
  }
}
