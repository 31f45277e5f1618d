/** Tells that something about the interfaces of the own namespace has changed, their MTU for instance; what, its user looks up. */
import * as libc from "../libc.js";
import { isSystemError } from "../system-error.js";

const NETLINK_ROUTE = 0;
const RTMGRP_LINK = 1;
const receiveBytes = 65_536;

/**
 * Needs no privilege. Many changes in a row are told once, `calmMs` after the first.
 * @throws SystemError when the socket cannot be opened
 */
export function watchLinkChanges(onChange: () => void, calmMs: number): { close(): void } {
  const fd = libc.openSocket(libc.AF_NETLINK, libc.SOCK_RAW, NETLINK_ROUTE, "watch interfaces");
  const address = Buffer.alloc(12); // struct sockaddr_nl
  address.writeUInt16LE(libc.AF_NETLINK, 0);
  address.writeUInt32LE(RTMGRP_LINK, 8);
  try {
    libc.bindSocket(fd, address, "watch interfaces");
  } catch (error) {
    libc.closeDescriptor(fd);
    throw error;
  }
  const buffer = Buffer.alloc(receiveBytes);
  let timer: NodeJS.Timeout | undefined;
  const read = (): void => {
    for (;;) {
      try {
        if (libc.receive(fd, buffer, libc.MSG_DONTWAIT, "receive link events") === undefined) break;
      } catch (error) {
        // ENOBUFS: so many that some were dropped; that there were some is all that is asked
        if (!isSystemError(error)) throw error;
      }
    }
    timer ??= setTimeout(() => {
      timer = undefined;
      onChange();
    }, calmMs).unref();
  };
  const poll = libc.pollReadable(fd, read);
  return {
    close() {
      clearTimeout(timer);
      poll.close();
      libc.closeDescriptor(fd);
    },
  };
}
