/**
 * Changes of interfaces in all namespaces that have a number here (namespace-ids.ts), over one socket.
 * Equivalent: `ip monitor all-nsid link nsid`.
 */
import * as libc from "../libc.js";
import { hasErrno } from "../system-error.js";
import { decodeMessages, formatError, type IncomingMessage } from "./codec.js";
import { decodeNamespaceEnd } from "./namespace-ids.js";

export interface LinkEventHandlers {
  /** An interface has changed or gone. `namespace`: the number of its namespace; undefined = our own. */
  link(event: LinkEvent & { readonly namespace: number | undefined }): void;
  /** A namespace has ended, and all in it. Its number may be given to another. */
  namespaceEnded(namespace: number): void;
  /** Events were lost: look at everything again. */
  overrun(): void;
}

const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_LISTEN_ALL_NSID = 8;
const SO_RCVBUF = 8;
const RTNLGRP_LINK = 1;
const RTNLGRP_NSID = 28;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const IFF_UP = 0x1;
const IFF_LOWER_UP = 0x10000;
/** struct ifinfomsg */
const linkHeaderLength = 16;
const receiveBufferBytes = 4 * 1024 * 1024;

export interface LinkWatch {
  /** Handles what has happened until now at once, instead of in the next turn of the event loop. */
  drain(): void;
  close(): void;
}

/**
 * Listens until closed; the process stays alive meanwhile. Handlers run on the event loop and must not throw.
 * @throws SystemError EPERM without CAP_NET_BROADCAST in the own namespace
 */
export function watchLinks(handlers: LinkEventHandlers): LinkWatch {
  const fd = libc.openSocket(libc.AF_NETLINK, libc.SOCK_RAW, NETLINK_ROUTE, "open a netlink socket for link events");
  try {
    libc.setSocketOption(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1, "listen to link events of all namespaces");
    libc.setSocketOption(fd, libc.SOL_SOCKET, SO_RCVBUF, receiveBufferBytes, "set the receive buffer for link events");
    libc.bindSocket(fd, groupAddress(RTNLGRP_LINK, RTNLGRP_NSID), "subscribe to link events");
  } catch (error) {
    libc.closeDescriptor(fd);
    throw error;
  }
  const buffer = Buffer.alloc(65536);
  const poll = libc.pollReadable(fd, () => drain(fd, buffer, handlers));
  let open = true;
  return {
    drain() {
      if (open) drain(fd, buffer, handlers);
    },
    close() {
      if (!open) return;
      open = false;
      poll.close();
      libc.closeDescriptor(fd);
    },
  };
}

function drain(fd: number, buffer: Buffer, handlers: LinkEventHandlers): void {
  for (;;) {
    let received: ReturnType<typeof libc.receiveMessage>;
    try {
      received = libc.receiveMessage(fd, buffer, "receive link events");
    } catch (error) {
      if (!hasErrno(error, "ENOBUFS")) throw error;
      handlers.overrun();
      continue;
    }
    if (received === undefined) return;
    const namespace = namespaceOf(received.control);
    for (const message of decodeMessages(Buffer.from(buffer.subarray(0, Math.min(received.length, buffer.length))))) {
      const ended = decodeNamespaceEnd(message);
      if (ended !== undefined && namespace === undefined) handlers.namespaceEnded(ended);
      const event = decodeLinkEvent(message);
      if (event !== undefined) handlers.link({ ...event, namespace });
    }
  }
}

/** struct cmsghdr { size_t length; int level; int type } and the number; absent for our own namespace. */
function namespaceOf(control: Buffer): number | undefined {
  if (control.length < 20) return undefined;
  const isNamespace = control.readInt32LE(8) === SOL_NETLINK && control.readInt32LE(12) === NETLINK_LISTEN_ALL_NSID;
  const id = isNamespace ? control.readInt32LE(16) : -1;
  return id < 0 ? undefined : id;
}

/** struct sockaddr_nl. */
function groupAddress(...groups: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16LE(libc.AF_NETLINK, 0);
  bytes.writeUInt32LE(
    groups.reduce((mask, group) => (mask | (1 << (group - 1))) >>> 0, 0),
    8,
  );
  return bytes;
}

/** What a message of the link event group says; only its header is read, because most events concern nobody. */
export interface LinkEvent {
  readonly gone: boolean;
  readonly index: number;
  readonly up: boolean;
  readonly carrier: boolean;
}

export function decodeLinkEvent({ type, body }: IncomingMessage): LinkEvent | undefined {
  if (type !== RTM_NEWLINK && type !== RTM_DELLINK) return undefined;
  if (body.length < linkHeaderLength) throw formatError(`link of ${body.length} bytes`);
  const flags = body.readUInt32LE(8);
  return {
    gone: type === RTM_DELLINK,
    index: body.readInt32LE(4),
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
  };
}
