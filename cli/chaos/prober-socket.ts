/** One raw ICMP socket in a pod's namespace: sends echo requests of ours and reads the answers to them. */
import { checksum } from "../../sdk/linux/icmp-echo.js";
import * as libc from "../../sdk/linux/libc.js";
import { type IpAddress, socketAddress } from "../../sdk/linux/netlink/ip-address.js";
import { type NetnsHandle, withNetns } from "../../sdk/linux/netns.js";
import { isSystemError } from "../../sdk/linux/system-error.js";

export interface ProbeSocket {
  /** False: the kernel has no way there now. */
  send(stream: number, sequence: number, destination: IpAddress): boolean;
  /** Hands over every answer that has come in. */
  read(answer: (stream: number, sequence: number) => void): void;
  close(): void;
}

const SO_RCVBUFFORCE = 33;
/** Answers of several seconds at full rate. */
const receiveBufferBytes = 4 << 20;
/** "WEFTchao": tells our packets from the liveness probes of the clients. */
const magic = Buffer.from("WEFTchao");
const packetBytes = 8 + magic.length + 8;
const echoRequest = { [libc.AF_INET]: 8, [libc.AF_INET6]: 128 } as const;
const echoReply = { [libc.AF_INET]: 0, [libc.AF_INET6]: 129 } as const;
const protocol = { [libc.AF_INET]: 1, [libc.AF_INET6]: 58 } as const;

export function openProbeSocket(netns: Pick<NetnsHandle, "fd" | "ino">, family: 2 | 10): ProbeSocket {
  const fd = withNetns(netns, () => libc.openSocket(family, libc.SOCK_RAW, protocol[family], "open a raw ICMP socket"));
  libc.setSocketOption(fd, libc.SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferBytes, "make room for answers");
  const packet = Buffer.alloc(packetBytes);
  packet[0] = echoRequest[family];
  magic.copy(packet, 8);
  const incoming = Buffer.alloc(2048);
  return {
    send(stream, sequence, destination) {
      packet.writeUInt16BE(0, 2);
      packet.writeUInt16BE(stream, 4);
      packet.writeUInt16BE(sequence & 0xffff, 6);
      packet.writeUInt32BE(stream, 8 + magic.length);
      packet.writeUInt32BE(sequence, 12 + magic.length);
      // for ICMPv6 the kernel computes it, with the pseudo header
      if (family === libc.AF_INET) packet.writeUInt16BE(checksum(packet), 2);
      try {
        libc.sendTo(fd, packet, socketAddress(destination, 0), "send a probe");
        return true;
      } catch (error) {
        if (isSystemError(error)) return false;
        throw error;
      }
    },
    read(answer) {
      for (;;) {
        const length = receive(fd, incoming);
        if (length === undefined) return;
        const offset = family === libc.AF_INET ? ((incoming[0] ?? 0) & 0x0f) * 4 : 0;
        if (length < offset + packetBytes || incoming[offset] !== echoReply[family]) continue;
        if (!incoming.subarray(offset + 8, offset + 8 + magic.length).equals(magic)) continue;
        answer(incoming.readUInt32BE(offset + 8 + magic.length), incoming.readUInt32BE(offset + 12 + magic.length));
      }
    },
    close: () => libc.closeDescriptor(fd),
  };
}

/** Errors that routers report come as errors of recv(2); they are no answer, and more may wait behind them. */
function receive(fd: number, buffer: Buffer): number | undefined {
  for (;;) {
    try {
      return libc.receive(fd, buffer, libc.MSG_DONTWAIT, "read an answer");
    } catch (error) {
      if (!isSystemError(error)) throw error;
    }
  }
}
