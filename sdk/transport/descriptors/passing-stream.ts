/**
 * A stream over a unix socket that sends and receives descriptors beside its bytes, the way NSM's grpcfd does: the first
 * bytes of the next write go alone, each with one descriptor; what comes in is kept by inode (received.ts).
 * A peer that knows nothing of it sees an unbroken stream of bytes.
 */
import { constants, openSync } from "node:fs";
import { Duplex } from "node:stream";
import {
  close,
  endSending,
  factsOf,
  type Readiness,
  receive,
  send,
  sendDescriptor,
  watchReadiness,
} from "../../linux/descriptors.js";
import type { Descriptors } from "../../peer.js";
import { createReceived, type ReceivedOptions } from "./received.js";

export interface PassingStream {
  readonly stream: Duplex;
  readonly descriptors: Descriptors;
}

const O_PATH = 0o10000000;
/** Descriptors that go with one write (grpcfd: 64), and that may wait for one. */
const maxPerWrite = 64;
const maxQueued = 1024;
/** Reads before other connections get their turn. */
const readsPerTurn = 16;

/** @param fd  a connected unix stream socket; closed with the stream, and when this throws */
export function openPassingStream(fd: number, options: ReceivedOptions = {}): PassingStream {
  const received = createReceived(options);
  /** To be sent, oldest first; ours to close. */
  const queue: number[] = [];
  let reading = false;
  let pending: Buffer = Buffer.alloc(0);
  let room = 0;
  let written: ((error?: Error | null) => void) | undefined;

  const watch = (): void => {
    if (!stream.destroyed) readiness.watch({ readable: reading, writable: written !== undefined });
  };

  function readAll(): void {
    for (let turn = 0; turn < readsPerTurn && reading && !stream.destroyed; turn++) {
      const got = receive(fd);
      if (got === undefined) return;
      for (const descriptor of got.descriptors) received.add(descriptor);
      if (got.data.length === 0) {
        reading = false;
        stream.push(null);
        return;
      }
      if (!stream.push(got.data)) reading = false;
      if (!got.more) return;
    }
  }

  /** Sends what it can; false: the rest must wait. */
  function flush(): boolean {
    while (pending.length > 0 && room > 0) {
      const [descriptor] = queue;
      if (descriptor === undefined) break;
      if (!sendOne(descriptor)) return false;
      room--;
    }
    while (pending.length > 0) {
      const sent = send(fd, pending);
      if (sent === 0) return false;
      pending = pending.subarray(sent);
    }
    return true;
  }

  function sendOne(descriptor: number): boolean {
    try {
      if (!sendDescriptor(fd, pending[0] ?? 0, descriptor)) return false;
      pending = pending.subarray(1);
    } catch (error) {
      // This user has too many descriptors under way: who waits for this one gives up in time, the bytes must go on.
      if ((error as { code?: unknown }).code !== "ETOOMANYREFS") throw error;
    }
    queue.shift();
    close(descriptor);
    return true;
  }

  function goOnWriting(): void {
    const done = written;
    if (done === undefined) return;
    try {
      if (!flush()) return;
      written = undefined;
      done();
    } catch (error) {
      written = undefined;
      pending = Buffer.alloc(0);
      done(error as Error);
    }
  }

  function write(data: Buffer, done: (error?: Error | null) => void): void {
    pending = data;
    room = maxPerWrite;
    written = done;
    goOnWriting();
    watch();
  }

  const readiness = watchOrClose(fd, () => {
    try {
      readAll();
    } catch (error) {
      stream.destroy(error as Error);
    }
    if (stream.destroyed) return;
    goOnWriting();
    watch();
  });
  const stream = new Duplex({
    allowHalfOpen: false,
    decodeStrings: true,
    read() {
      reading = true;
      watch();
    },
    write: (chunk: Buffer, _encoding, done) => write(chunk, done),
    writev: (chunks, done) => write(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)), done),
    final(done) {
      endSending(fd);
      done();
    },
    destroy(error, done) {
      readiness.close();
      close(fd);
      for (const descriptor of queue.splice(0)) close(descriptor);
      received.close();
      done(error);
    },
  });
  return {
    stream,
    descriptors: {
      take: received.take,
      wait: received.wait,
      send(path) {
        if (stream.destroyed) throw refusal("EPIPE", "the connection has ended");
        if (queue.length >= maxQueued) throw refusal("EBUSY", `${maxQueued} descriptors wait to be sent on this connection`);
        const descriptor = openSync(path, O_PATH | constants.O_RDONLY);
        try {
          const { dev, ino } = factsOf(descriptor);
          queue.push(descriptor);
          return { dev, ino };
        } catch (error) {
          close(descriptor);
          throw error;
        }
      },
    },
  };
}

function watchOrClose(fd: number, ready: () => void): Readiness {
  try {
    return watchReadiness(fd, ready);
  } catch (error) {
    close(fd);
    throw error;
  }
}

function refusal(code: string, text: string): Error {
  return Object.assign(new Error(text), { code });
}
