/**
 * The descriptors that have come over one connection, by the inode of what they refer to.
 *
 * Only network namespaces and unix sockets are kept; a descriptor of anything else, and the second of the same thing, is
 * closed at once. Everything that is kept is closed with the connection, and earlier when who asked for it has closed it,
 * there are too many, or nobody has asked for it in a while: who refers to a file sends it again with each message, and a namespace must not outlive its pod
 * because a connection between two managers lives for weeks.
 */

import { close, duplicate, type FileFacts, factsOf } from "../../linux/descriptors.js";
import { ownNetnsInode } from "../../linux/netns.js";
import type { Descriptors, HeldFile, Inode } from "../../peer.js";
import { Code, statusError } from "../../status.js";

export interface Received extends Pick<Descriptors, "take" | "wait"> {
  /** Takes over a descriptor that has come. */
  add(descriptor: number): void;
  /** How many are kept. */
  readonly size: number;
  close(): void;
}

export interface ReceivedOptions {
  /** Kept at one time on this connection. */
  readonly max?: number;
  /** How long one is kept, in milliseconds; longer than a request lives. */
  readonly keepMs?: number;
}

interface Kept {
  readonly descriptor: number;
  sinceMs: number;
  /** How often it has come and was not done with yet. */
  uses: number;
}

interface Waiter {
  readonly give: (file: HeldFile) => void;
  readonly fail: (error: unknown) => void;
}

const S_IFREG = 0o100000;
const S_IFSOCK = 0o140000;

export function createReceived({ max = 256, keepMs = 120_000 }: ReceivedOptions = {}): Received {
  /** Oldest first. */
  const kept = new Map<string, Kept>();
  const waiting = new Map<string, Set<Waiter>>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  function drop(key: string): void {
    const entry = kept.get(key);
    if (!kept.delete(key) || entry === undefined) return;
    close(entry.descriptor);
  }

  function sweep(): void {
    timer = undefined;
    const oldestMs = performance.now() - keepMs;
    for (const [key, { sinceMs }] of kept) if (sinceMs <= oldestMs) drop(key);
    arm();
  }

  function arm(): void {
    if (timer === undefined && kept.size > 0 && !closed) timer = setTimeout(sweep, keepMs);
  }

  function take(inode: Inode): HeldFile | undefined {
    const entry = kept.get(keyOf(inode));
    return entry === undefined ? undefined : hold(entry.descriptor, inode, () => leave(inode));
  }

  /** It comes once for each message that names it: when all of them are done with it, nothing of ours keeps it. */
  function leave(inode: Inode): void {
    const key = keyOf(inode);
    const entry = kept.get(key);
    if (entry !== undefined && --entry.uses <= 0) drop(key);
  }

  return {
    take,
    get size() {
      return kept.size;
    },
    add(descriptor) {
      const facts = wanted(descriptor);
      if (facts === undefined || closed) {
        close(descriptor);
        return;
      }
      const key = keyOf(facts);
      const known = kept.get(key);
      if (known !== undefined) {
        close(descriptor);
        // moved to the end: it is the youngest again
        kept.delete(key);
        kept.set(key, { ...known, sinceMs: performance.now(), uses: known.uses + 1 });
        return;
      }
      kept.set(key, { descriptor, sinceMs: performance.now(), uses: 1 });
      for (const waiter of waiting.get(key) ?? []) {
        try {
          waiter.give(hold(descriptor, facts, () => leave(facts)));
        } catch (error) {
          waiter.fail(error);
        }
      }
      waiting.delete(key);
      const [oldest] = kept.keys();
      if (kept.size > max && oldest !== undefined) drop(oldest);
      arm();
    },
    wait(inode, signal) {
      const here = take(inode);
      if (here !== undefined) return Promise.resolve(here);
      if (signal.aborted) return Promise.reject(signal.reason);
      if (closed) return Promise.reject(connectionEnded());
      return new Promise((resolve, reject) => {
        const key = keyOf(inode);
        const cut = (): void => waiter.fail(signal.reason);
        const done = (): void => {
          signal.removeEventListener("abort", cut);
          const others = waiting.get(key);
          others?.delete(waiter);
          if (others?.size === 0) waiting.delete(key);
        };
        const waiter: Waiter = {
          give(file) {
            done();
            resolve(file);
          },
          fail(error) {
            done();
            reject(error);
          },
        };
        const others = waiting.get(key);
        if (others === undefined) waiting.set(key, new Set([waiter]));
        else others.add(waiter);
        signal.addEventListener("abort", cut, { once: true });
      });
    },
    close() {
      closed = true;
      clearTimeout(timer);
      for (const key of [...kept.keys()]) drop(key);
      for (const waiters of [...waiting.values()]) for (const waiter of [...waiters]) waiter.fail(connectionEnded());
    },
  };
}

/** What it is, if it is of a kind that belongs here. */
function wanted(descriptor: number): FileFacts | undefined {
  try {
    const facts = factsOf(descriptor);
    const namespace = facts.type === S_IFREG && facts.dev === ownNetnsInode().dev;
    return namespace || facts.type === S_IFSOCK ? facts : undefined;
  } catch {
    return undefined;
  }
}

function hold(descriptor: number, { dev, ino }: Inode, left: () => void): HeldFile {
  const own = duplicate(descriptor);
  let open = true;
  return {
    dev,
    ino,
    path: `/proc/${process.pid}/fd/${own}`,
    close() {
      if (!open) return;
      open = false;
      close(own);
      left();
    },
  };
}

function keyOf({ dev, ino }: Inode): string {
  return `${dev}/${ino}`;
}

function connectionEnded(): Error {
  return statusError(Code.UNAVAILABLE, "the connection ended before the descriptor came");
}
