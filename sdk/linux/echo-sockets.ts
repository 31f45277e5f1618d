/**
 * Echo requests of one watcher, over sockets that stay open: a probe repeats itself many times a second, and to open, bind and close
 * a socket for each echo costs ten times what the echo does. For a single one: icmp-echo.ts.
 */
import { randomBytes } from "node:crypto";
import { checksum, openEchoSocket } from "./icmp-echo.js";
import * as libc from "./libc.js";
import { type IpAddress, parseAddress, socketAddress } from "./netlink/ip-address.js";
import { isSystemError } from "./system-error.js";

export interface EchoPlace {
  /** Where it is sent from (forms: netns-url.ts); undefined = this process's namespace. */
  readonly netnsUrl: string | undefined;
  /** Address to send from; empty = the kernel chooses. */
  readonly source: string;
  readonly destination: string;
  /** Interface it must leave by, whatever the routes say; undefined = as they say. */
  readonly interfaceName: string | undefined;
}

export interface EchoSockets {
  /**
   * Sends one echo request. What the kernel refuses to send is like one that nobody answers.
   * @param onAnswer  called once, when it has been answered
   * @returns forgets it
   * @throws INVALID_ARGUMENT an address; NOT_FOUND the namespace; PERMISSION_DENIED neither kind of socket is allowed
   */
  send(place: EchoPlace, onAnswer: () => void): () => void;
  /** Hands over what has come in and was not read yet. */
  read(): void;
  /** Closes the sockets; what is waited for is forgotten. */
  close(): void;
}

interface EchoSocket {
  readonly send: (destination: IpAddress, onAnswer: () => void) => () => void;
  readonly read: () => void;
  readonly close: () => void;
}

/** Behind the ICMP header: who asked, so that answers to others are not taken for ours, and which echo it is. */
const markBytes = 8;
const packetBytes = 8 + markBytes + 4;
const buffer = Buffer.alloc(2048);
const SO_ATTACH_FILTER = 26;

export function createEchoSockets(): EchoSockets {
  const sockets = new Map<string, EchoSocket>();
  const parsed = new Map<string, IpAddress>();

  function parse(text: string): IpAddress {
    const address = parsed.get(text) ?? parseAddress(text);
    parsed.set(text, address);
    return address;
  }

  function socketFor(place: EchoPlace, destination: IpAddress): EchoSocket {
    const key = `${place.source} ${place.interfaceName ?? ""} ${place.netnsUrl ?? ""} ${destination.family}`;
    const known = sockets.get(key);
    if (known !== undefined) return known;
    const made = openSocket(place, destination.family);
    sockets.set(key, made);
    return made;
  }

  return {
    send(place, onAnswer) {
      const destination = parse(place.destination);
      try {
        return socketFor(place, destination).send(destination, onAnswer);
      } catch (error) {
        if (isSystemError(error)) return () => {};
        throw error;
      }
    },
    read() {
      for (const socket of sockets.values()) socket.read();
    },
    close() {
      for (const socket of sockets.values()) socket.close();
      sockets.clear();
    },
  };
}

function openSocket({ netnsUrl, source, interfaceName }: EchoPlace, family: IpAddress["family"]): EchoSocket {
  const { fd, raw } = openEchoSocket(netnsUrl, family);
  const mark = randomBytes(markBytes);
  const withIpHeader = raw && family === libc.AF_INET;
  try {
    if (raw) onlyMarked(fd, mark, withIpHeader);
    if (interfaceName !== undefined) libc.bindToDevice(fd, interfaceName);
    if (source !== "") libc.bindSocket(fd, socketAddress(parseAddress(source), 0), `bind ${source}`);
  } catch (error) {
    libc.closeDescriptor(fd);
    throw error;
  }
  const waiting = new Map<number, () => void>();
  let sent = 0;
  const packet = Buffer.alloc(packetBytes);
  packet[0] = family === libc.AF_INET ? 8 : 128;
  mark.copy(packet, 4, 0, 2);
  mark.copy(packet, 8);

  const read = (): void => {
    for (;;) {
      const length = receive(fd);
      if (length === undefined) return;
      const number = answered(buffer.subarray(0, length), mark, withIpHeader);
      const onAnswer = number === undefined ? undefined : waiting.get(number);
      if (number === undefined || onAnswer === undefined) continue;
      waiting.delete(number);
      onAnswer();
    }
  };
  const poll = libc.pollReadable(fd, read);
  let open = true;
  return {
    send(destination, onAnswer) {
      const number = sent;
      sent = (sent + 1) >>> 0;
      packet.writeUInt16BE(0, 2);
      packet.writeUInt16BE(number & 0xffff, 6);
      packet.writeUInt32BE(number, 8 + markBytes);
      // for ICMPv6 the kernel computes it, with the pseudo header
      if (family === libc.AF_INET) packet.writeUInt16BE(checksum(packet), 2);
      libc.sendTo(fd, packet, socketAddress(destination, 0), "send an echo request");
      waiting.set(number, onAnswer);
      return () => void waiting.delete(number);
    },
    read: () => {
      if (open) read();
    },
    close() {
      open = false;
      waiting.clear();
      poll.close();
      libc.closeDescriptor(fd);
    },
  };
}

/** Errors that routers report come as errors of recv(2); they are no answer, and more may wait behind them. */
function receive(fd: number): number | undefined {
  for (;;) {
    try {
      return libc.receive(fd, buffer, libc.MSG_DONTWAIT, "receive an echo reply");
    } catch (error) {
      if (!isSystemError(error)) throw error;
    }
  }
}

function answered(packet: Buffer, mark: Buffer, withIpHeader: boolean): number | undefined {
  const offset = withIpHeader ? ((packet[0] ?? 0) & 0x0f) * 4 : 0;
  const type = packet[offset];
  if ((type !== 0 && type !== 129) || packet.length < offset + packetBytes) return undefined;
  if (packet.compare(mark, 0, markBytes, offset + 8, offset + 8 + markBytes) !== 0) return undefined;
  return packet.readUInt32BE(offset + 8 + markBytes);
}

/**
 * A raw socket gets every ICMP message to its address, those of the workload's own pings too: the kernel sifts them (classic BPF,
 * linux/filter.h) by the first bytes of the mark, so that nobody is woken for them.
 */
function onlyMarked(fd: number, mark: Buffer, withIpHeader: boolean): void {
  const load: readonly Instruction[] = withIpHeader
    ? [
        [0xb1, 0, 0, 0], // X = length of the IP header
        [0x40, 0, 0, 8], // A = the word 8 bytes behind it
      ]
    : [[0x20, 0, 0, 8]];
  const decide: readonly Instruction[] = [
    [0x15, 0, 1, mark.readUInt32BE(0)],
    [0x06, 0, 0, 0xffff],
    [0x06, 0, 0, 0],
  ];
  const program = Buffer.concat([...load, ...decide].map(encodeInstruction));
  libc.setSocketProgram(fd, SO_ATTACH_FILTER, program, "sift the answers");
}

/** code, jump if true, jump if false, operand. */
type Instruction = readonly [number, number, number, number];

function encodeInstruction([code, ifTrue, ifFalse, operand]: Instruction): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(operand, 4);
  return bytes;
}
