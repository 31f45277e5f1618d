/**
 * What goes out on connections: frames of one turn of the event loop are put together and leave in one write per
 * connection, for a write costs more than all that is in it. Buffers are borrowed for that turn only.
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";

export interface Output {
  readonly socket: Duplex;
  /** Whether a write that has been taken at once leaves the buffer to us. */
  readonly plain: boolean;
  buffer: Buffer | undefined;
  used: number;
  waiting: boolean;
  corked: boolean;
  /** The socket is full: streams should wait until it drains. */
  congested: boolean;
}

const bufferBytes = 16 * 1024;
const maxSpare = 32;
const spare: Buffer[] = [];
let queue: Output[] = [];
let scheduled = false;

export function createOutput(socket: Duplex): Output {
  // a TLS socket goes on reading from what it was given until the record is out
  const plain = socket.constructor === Socket;
  return { socket, plain, buffer: undefined, used: 0, waiting: false, corked: false, congested: false };
}

/** A buffer with room for so many bytes (at most 8 KiB) from `used` on; who writes moves `used` on. */
export function room(output: Output, bytes: number): Buffer {
  if (output.buffer !== undefined && output.used + bytes > bufferBytes) flush(output);
  output.buffer ??= spare.pop() ?? Buffer.allocUnsafeSlow(bufferBytes);
  if (!output.waiting) {
    output.waiting = true;
    queue.push(output);
    if (!scheduled) {
      scheduled = true;
      setImmediate(flushAll);
    }
  }
  return output.buffer;
}

/** Largest piece that `room` gives. */
export const maxRoom = 8 * 1024;

/** Bytes of any length, which must not change any more. */
export function append(output: Output, bytes: Uint8Array): void {
  if (bytes.length <= maxRoom) {
    const buffer = room(output, bytes.length);
    buffer.set(bytes, output.used);
    output.used += bytes.length;
    return;
  }
  // what follows in this turn goes with it in one system call
  room(output, 0);
  if (!output.corked) {
    output.corked = true;
    output.socket.cork();
  }
  flush(output);
  if (!output.socket.write(bytes)) output.congested = true;
}

export function flush(output: Output): void {
  const { buffer, used, socket } = output;
  if (buffer === undefined) return;
  output.buffer = undefined;
  output.used = 0;
  if (used === 0 || socket.destroyed || socket.writableEnded) {
    giveBack(buffer);
    return;
  }
  if (!output.plain) {
    if (!socket.write(Buffer.from(buffer.subarray(0, used)))) output.congested = true;
    giveBack(buffer);
    return;
  }
  if (!socket.write(buffer.subarray(0, used))) output.congested = true;
  if (socket.writableLength === 0) giveBack(buffer);
}

function giveBack(buffer: Buffer): void {
  if (spare.length < maxSpare) spare.push(buffer);
}

function flushAll(): void {
  scheduled = false;
  const ready = queue;
  queue = [];
  for (const output of ready) {
    output.waiting = false;
    flush(output);
    if (output.corked) {
      output.corked = false;
      output.socket.uncork();
    }
  }
}
