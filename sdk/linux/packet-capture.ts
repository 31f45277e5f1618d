/** Every frame of one interface, as it lies on the wire (packet(7)), and frames sent again: to prove what others can read. */

import * as libc from "./libc.js";
import { getLink } from "./netlink/links.js";
import { openNetlinkSocket } from "./netlink/socket.js";
import { type NetnsHandle, withNetns } from "./netns.js";
import { hasErrno } from "./system-error.js";

export interface CapturedFrame {
  readonly bytes: Buffer;
  /** Sent by this namespace; else received. */
  readonly outgoing: boolean;
}

export interface Capture {
  /** Everything since the start. */
  frames(): readonly CapturedFrame[];
  /** Puts a frame, from the Ethernet header on, on the wire. */
  send(frame: Uint8Array): void;
  close(): void;
}

const AF_PACKET = 17;
const ETH_P_ALL = 3;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const PACKET_OUTGOING = 4;
const maxFrame = 65_536;

export function openCapture(netns: Pick<NetnsHandle, "fd" | "ino">, interfaceName: string): Capture {
  const links = openNetlinkSocket(netns);
  const index = getLink(links, interfaceName)?.index ?? 0;
  links.close();
  const address = Buffer.alloc(20); // struct sockaddr_ll
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_ALL, 2);
  address.writeInt32LE(index, 4);
  const fd = withNetns(netns, () => libc.openSocket(AF_PACKET, libc.SOCK_RAW, ETH_P_ALL << 8, `listen on ${interfaceName}`));
  libc.bindSocket(fd, address, `listen on ${interfaceName}`);
  makeRoom(fd);
  const frames: CapturedFrame[] = [];
  const buffer = Buffer.alloc(maxFrame);
  return {
    frames() {
      for (;;) {
        const received = libc.receiveFrom(fd, buffer, "read a frame");
        if (received === undefined) return frames;
        const outgoing = received.address.readUInt8(10) === PACKET_OUTGOING;
        frames.push({ bytes: Buffer.from(buffer.subarray(0, received.length)), outgoing });
      }
    },
    send: (frame) => libc.sendTo(fd, frame, address, "send a captured frame again"),
    close: () => libc.closeDescriptor(fd),
  };
}

/** As much as it takes; in a user namespace, which may not force it, as much as the machine allows. */
function makeRoom(fd: number): void {
  const what = "make room for frames";
  try {
    libc.setSocketOption(fd, libc.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20, what);
  } catch (error) {
    if (!hasErrno(error, "EPERM")) throw error;
    libc.setSocketOption(fd, libc.SOL_SOCKET, SO_RCVBUF, 8 << 20, what);
  }
}
