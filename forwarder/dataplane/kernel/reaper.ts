/**
 * Deletes interfaces without holding up the event loop. The kernel sleeps about 20 ms in a deletion, but in the same time it
 * can delete a whole group, so all interfaces of one namespace that wait are deleted together, on a pool thread.
 */
import { randomBytes } from "node:crypto";
import { deleteLink, deleteLinkGroup, setLink } from "../../../sdk/linux/netlink/links.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";

export interface Reaper {
  /** Resolves when the interface is gone; one that is gone already is fine. The handle may be closed at once. */
  deleteLink(netns: NetnsHandle, index: number): Promise<void>;
  /** Resolves when nothing waits. */
  idle(): Promise<void>;
}

interface Batch {
  readonly socket: NetlinkSocket;
  readonly indexes: Set<number>;
  readonly done: Promise<void>;
  start(): Promise<void>;
}

/** Node's pool has four threads; files and name look-ups need the others. */
const maxThreads = 2;

export function createReaper(): Reaper {
  const waiting = new Map<string, Batch>();
  const running = new Set<Promise<void>>();

  const startNext = (): void => {
    if (running.size >= maxThreads) return;
    const next = waiting.entries().next().value;
    if (next === undefined) return;
    const [key, batch] = next;
    waiting.delete(key);
    const run = batch.start().finally(() => {
      running.delete(run);
      startNext();
    });
    running.add(run);
  };
  return {
    deleteLink(netns, index) {
      const key = `${netns.dev}/${netns.ino}`;
      const batch = waiting.get(key) ?? newBatch(openNetlinkSocket(netns));
      waiting.set(key, batch);
      batch.indexes.add(index);
      // Later, so that everything asked for in this turn goes together.
      setImmediate(startNext);
      return batch.done;
    },
    async idle() {
      while (waiting.size > 0 || running.size > 0) {
        startNext();
        await Promise.allSettled(running);
      }
    },
  };
}

function newBatch(socket: NetlinkSocket): Batch {
  const indexes = new Set<number>();
  let settle: { resolve(): void; reject(error: unknown): void } | undefined;
  const done = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return {
    socket,
    indexes,
    done,
    async start() {
      try {
        await deleteAll(socket, [...indexes]);
        settle?.resolve();
      } catch (error) {
        settle?.reject(error);
      } finally {
        socket.close();
      }
    },
  };
}

async function deleteAll(socket: NetlinkSocket, indexes: readonly number[]): Promise<void> {
  if (indexes.length === 1 && indexes[0] !== undefined) return await socket.performOnThread([deleteLink(indexes[0])]);
  const group = randomBytes(4).readUInt32LE() | 0x80000000;
  socket.perform(indexes.map((index) => ({ ...setLink(index, { group }), tolerate: ["ENODEV"] })));
  await socket.performOnThread([deleteLinkGroup(group >>> 0)]);
}
