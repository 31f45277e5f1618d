/**
 * Echo requests of one watcher, over sockets that stay open: a probe repeats itself many times a second, and to open, bind and close
 * a socket for each echo costs ten times what the echo does. For a single one: icmp-echo.ts.
 */
import { randomBytes } from "node:crypto";
import { checksum, openEchoSocket } from "./icmp-echo.js";
import * as libc from "./libc.js";
import { type IpAddress, parseAddress, socketAddress } from "./netlink/ip-address.js";
import { isSystemError } from "./system-error.js";

/** From where to where. One that is sent to again should be the same object: what is known of it is kept with that. */
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
   * @param onAnswer  called once, when it has been answered; never from within this call
   * @returns forgets it
   * @throws INVALID_ARGUMENT an address; NOT_FOUND the namespace; PERMISSION_DENIED neither kind of socket is allowed
   */
  send(place: EchoPlace, onAnswer: () => void): () => void;
  /** Hands over what has come in and was not read yet. */
  read(): void;
  /** Closes the sockets; what is waited for is forgotten. */
  close(): void;
}

type Send = (onAnswer: () => void) => () => void;

interface EchoSocket {
  readonly sendTo: (destination: IpAddress) => Send;
  readonly read: () => void;
  readonly close: () => void;
}

/** Behind the ICMP header: who asked, so that answers to others are not taken for ours, and which echo it is. */
const markBytes = 8;
const packetBytes = 8 + markBytes + 4;
const buffer = Buffer.alloc(2048);
const SO_ATTACH_FILTER = 26;

const nothing = (): void => {};

export function createEchoSockets(): EchoSockets {
  const sockets = new Map<string, EchoSocket>();
  const senders = new WeakMap<EchoPlace, Send>();

  function socketFor(place: EchoPlace, family: IpAddress["family"]): EchoSocket {
    const key = `${place.source} ${place.interfaceName ?? ""} ${place.netnsUrl ?? ""} ${family}`;
    const known = sockets.get(key);
    if (known !== undefined) return known;
    const made = openSocket(place, family);
    sockets.set(key, made);
    return made;
  }

  /** Undefined: the kernel refuses it now, as one does that has not accepted the address yet. */
  function senderFor(place: EchoPlace): Send | undefined {
    const destination = parseAddress(place.destination);
    try {
      const made = socketFor(place, destination.family).sendTo(destination);
      senders.set(place, made);
      return made;
    } catch (error) {
      if (isSystemError(error)) return undefined;
      throw error;
    }
  }

  return {
    send: (place, onAnswer) => (senders.get(place) ?? senderFor(place))?.(onAnswer) ?? nothing,
    read() {
      for (const socket of sockets.values()) socket.read();
    },
    close() {
      for (const socket of sockets.values()) socket.close();
      sockets.clear();
    },
  };
}

/** Sockets from which something was sent in this turn of the event loop. */
let sentFrom = new Set<() => void>();

/**
 * Reads once when everything that is sent in this turn has been sent: between namespaces of one node the answer is there by then, and
 * the loop need not be woken for each.
 */
function readSoon(read: () => void): void {
  if (sentFrom.size === 0)
    process.nextTick(() => {
      const all = sentFrom;
      sentFrom = new Set();
      for (const one of all) one();
    });
  sentFrom.add(read);
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
  let open = true;
  const packet = Buffer.alloc(packetBytes);
  packet[0] = family === libc.AF_INET ? 8 : 128;
  mark.copy(packet, 4, 0, 2);
  mark.copy(packet, 8);

  const readUntil = (enough: () => boolean): void => {
    while (open && !enough()) {
      const length = libc.tryReceive(fd, buffer);
      if (length === undefined) return;
      const number = answered(buffer, length, mark, withIpHeader);
      const onAnswer = number === undefined ? undefined : waiting.get(number);
      if (number === undefined || onAnswer === undefined) continue;
      waiting.delete(number);
      onAnswer();
    }
  };
  const isAnswered = (): boolean => waiting.size === 0;
  const readAnswers = (): void => readUntil(isAnswered);
  const read = (): void => readUntil(() => false);
  const poll = libc.pollReadable(fd, read);

  function send(address: Uint8Array, onAnswer: () => void): () => void {
    const number = sent;
    sent = (sent + 1) >>> 0;
    packet.writeUInt16BE(0, 2);
    packet.writeUInt16BE(number & 0xffff, 6);
    packet.writeUInt32BE(number, 8 + markBytes);
    // for ICMPv6 the kernel computes it, with the pseudo header
    if (family === libc.AF_INET) packet.writeUInt16BE(checksum(packet), 2);
    if (!libc.trySendTo(fd, packet, address)) return nothing;
    waiting.set(number, onAnswer);
    readSoon(readAnswers);
    return () => void waiting.delete(number);
  }
  return {
    sendTo(destination) {
      const address = socketAddress(destination, 0);
      return (onAnswer) => (open ? send(address, onAnswer) : nothing);
    },
    read,
    close() {
      open = false;
      waiting.clear();
      poll.close();
      libc.closeDescriptor(fd);
    },
  };
}

function answered(packet: Buffer, length: number, mark: Buffer, withIpHeader: boolean): number | undefined {
  const offset = withIpHeader ? ((packet[0] ?? 0) & 0x0f) * 4 : 0;
  const type = packet[offset];
  if ((type !== 0 && type !== 129) || length < offset + packetBytes) return undefined;
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
