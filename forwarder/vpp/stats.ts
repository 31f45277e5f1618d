/**
 * Counters from VPP's statistics segment: shared memory that VPP writes and we read without a call. VPP hands the descriptor out
 * over a socket of its own; koffi maps it (docs/decisions/0020). Layout: vlib/stats/shared.h, version 2.
 *
 * A reader takes no lock: VPP raises `in_progress` while it changes the directory and `epoch` afterwards, so what was read between two equal epochs is
 * whole. Every offset is checked against the size of the segment: a wild value gives no counter, never a fault.
 */
import { closeSync, fstatSync } from "node:fs";
import { AF_UNIX, closeDescriptor, connectSocket, openSocket, receiveMessage, SOCK_NONBLOCK } from "../../sdk/linux/libc.js";
import { parseRights } from "../../sdk/linux/rights.js";
import { Code, statusError } from "../../sdk/status.js";
import { mapShared } from "../native/ffi.js";
import { pause } from "./process.js";

/** Packets and bytes of one interface. */
export interface InterfaceCounters {
  readonly rxPackets: bigint;
  readonly rxBytes: bigint;
  readonly txPackets: bigint;
  readonly txBytes: bigint;
  readonly drops: bigint;
}

export interface Stats {
  /** Undefined: VPP has no counters for it, or was changing them all the time. */
  interface(swIfIndex: number): InterfaceCounters | undefined;
  close(): void;
}

const SOCK_SEQPACKET = 5;
const timeoutMs = 2_000;
const retryMs = 2;

/** @throws UNAVAILABLE nobody hands the segment out; FAILED_PRECONDITION it has another layout */
export async function openStats(socketPath: string): Promise<Stats> {
  const fd = await receiveDescriptor(socketPath);
  const bytes = fstatSync(fd).size;
  const { memory, unmap } = mapShared(fd, bytes);
  closeSync(fd);
  try {
    return { ...readStats(memory), close: unmap };
  } catch (error) {
    unmap();
    throw error;
  }
}

async function receiveDescriptor(socketPath: string): Promise<number> {
  const socket = openSocket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, "open a socket for VPP's statistics");
  try {
    const address = Buffer.alloc(2 + Buffer.byteLength(socketPath) + 1);
    address.writeUInt16LE(AF_UNIX, 0);
    address.write(socketPath, 2);
    connectSocket(socket, address, `connect to ${socketPath}`);
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      const received = receiveMessage(socket, Buffer.alloc(16), `receive VPP's statistics from ${socketPath}`);
      const fd = received && parseRights(received.control)[0];
      if (fd !== undefined) return fd;
      if (received !== undefined || performance.now() > deadlineMs) break;
      await pause(retryMs);
    }
  } finally {
    closeDescriptor(socket);
  }
  throw statusError(Code.UNAVAILABLE, `${socketPath} did not hand out VPP's statistics; is "statseg" in its start.conf?`);
}

const layoutVersion = 2n;
const entryBytes = 144;
const simpleVector = 2;
const combinedVector = 3;
const names = ["/if/rx", "/if/tx", "/if/drops"] as const;
type Name = (typeof names)[number];
/** VPP changes the directory when an interface comes or goes; that takes microseconds. */
const maxTries = 20;

/** @throws FAILED_PRECONDITION the memory has another layout */
export function readStats(memory: ArrayBuffer): Pick<Stats, "interface"> {
  const longs = new BigUint64Array(memory, 0, Math.floor(memory.byteLength / 8));
  const words = new Uint32Array(memory, 0, Math.floor(memory.byteLength / 4));
  const text = Buffer.from(memory);
  const long = (at: number): bigint => longs[at / 8] ?? 0n;
  const version = long(0);
  if (version !== layoutVersion)
    throw statusError(
      Code.FAILED_PRECONDITION,
      `VPP's statistics have version ${version}; known is ${layoutVersion}: no counters`,
    );
  /** The place of a pointer of VPP's, or 0. */
  const place = (pointer: bigint): number => {
    const offset = pointer - long(8);
    return offset > 0n && offset % 8n === 0n && offset < BigInt(memory.byteLength) ? Number(offset) : 0;
  };
  /** Vectors have their length in the 8 bytes before them. */
  const lengthOf = (at: number): number => (at < 8 ? 0 : (words[at / 4 - 2] ?? 0));
  let directory:
    | { readonly epoch: bigint; readonly at: ReadonlyMap<Name, { readonly type: number; readonly entry: number }> }
    | undefined;
  const look = (epoch: bigint): NonNullable<typeof directory> => {
    const start = place(long(32));
    const found = new Map<Name, { type: number; entry: number }>();
    const count = Math.min(lengthOf(start), Math.floor((memory.byteLength - start) / entryBytes));
    for (let index = 0; index < count && found.size < names.length; index++) {
      const entry = start + index * entryBytes;
      const name = names.find((each) => text.toString("latin1", entry + 16, entry + 17 + each.length) === `${each}\0`);
      if (name !== undefined) found.set(name, { type: words[entry / 4] ?? 0, entry });
    }
    return { epoch, at: found };
  };
  /** The sum over all threads of one interface's counter. */
  const sum = (name: Name, index: number): readonly [bigint, bigint] => {
    const found = directory?.at.get(name);
    const isCombined = found?.type === combinedVector;
    if (found === undefined || (!isCombined && found.type !== simpleVector)) return [0n, 0n];
    const threads = place(long(found.entry + 8));
    let total: readonly [bigint, bigint] = [0n, 0n];
    for (let thread = 0; thread < Math.min(lengthOf(threads), maxThreads); thread++) {
      const counters = place(long(threads + 8 * thread));
      if (index >= lengthOf(counters)) continue;
      const at = counters + index * (isCombined ? 16 : 8);
      total = [total[0] + long(at), total[1] + (isCombined ? long(at + 8) : 0n)];
    }
    return total;
  };
  return {
    interface(swIfIndex) {
      for (let tries = 0; tries < maxTries; tries++) {
        const epoch = long(16);
        if (long(24) !== 0n) continue;
        if (directory?.epoch !== epoch) directory = look(epoch);
        const [rx, tx, drops] = names.map((name) => sum(name, swIfIndex));
        if (long(16) !== epoch || long(24) !== 0n) continue;
        if (rx === undefined || tx === undefined || drops === undefined || directory.at.size === 0) return undefined;
        return { rxPackets: rx[0], rxBytes: rx[1], txPackets: tx[0], txBytes: tx[1], drops: drops[0] };
      }
      return undefined;
    },
  };
}

const maxThreads = 256;
