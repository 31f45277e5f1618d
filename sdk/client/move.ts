/**
 * Moves of one kept connection from path to path: which one is the current one, what of the last one still stands, and when
 * the interface gets its own name back.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ConnectionApi } from "../api.js";
import type { Handler } from "../chain.js";
import type { Connection } from "../gen/connection.js";
import { sharedParameter } from "../mechanisms/parameters.js";
import { Code, toStatusError } from "../status.js";
import type { Log } from "../telemetry/log.js";
import { type BesideOptions, closeQuietly, makeBeside, renamed, wishBeside } from "./beside.js";
import type { Watch } from "./node-manager.js";
import type { Wish } from "./requests.js";

export interface MoverOptions extends Omit<BesideOptions, "wish"> {
  readonly wish: Wish;
  readonly handler: Handler<ConnectionApi>;
  readonly log: Log;
  /** Hears of a connection with this id from now on. */
  readonly watch: (id: string) => Watch;
  /** How long the old path stays after a move, for packets on the way and for workloads that read the change late. */
  readonly lingerMs: number;
  /** The old path has gone: a refresh gives the interface its name back. */
  readonly onGone: () => void;
}

export interface Mover {
  /** What to wish for: with the interface's own name as soon as no other one has it. */
  readonly wish: Wish;
  /** The connection as a refresh should ask for it. */
  wanted(connection: Connection): Connection;
  /**
   * Makes a path beside the current one and sees packets pass. Until `leave` nothing has changed.
   * @throws as makeBeside
   */
  make(): Promise<Connection>;
  /** What `make` gave is the current one from now on; the old one goes after a while. */
  leave(old: Connection): void;
  /** The interface cannot have its own name for now: somebody else has it. */
  postponeName(): void;
  /** Resolves when nothing of old paths is left; the pause before it is cut short by the signal. */
  idle(): Promise<void>;
}

/** A name that was taken is tried again after so long. */
const nameAgainMs = 30_000;
/** Pauses before further tries of a close that nobody heard, in milliseconds; afterwards it is left to expire. */
const closeAgainMs = [100, 200, 400, 800, 1_500, 3_000, 5_000, 10_000];

function wasUnheard(error: unknown): boolean {
  const { code } = toStatusError(error);
  return code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED;
}

/** @param currentId  id of the connection as it was taken over: that of the wish or its sibling */
export function createMover(options: MoverOptions, currentId: string): Mover {
  const { handler, log, signal } = options;
  const { id: baseId, mechanism: wished } = options.wish;
  const interfaceName = wished.parameters[sharedParameter.name];
  let wish: Wish = { ...options.wish, id: currentId };
  let next: Wish | undefined;
  /** Of the sibling; connect() looks after that of the first id. */
  let watch = currentId === baseId ? undefined : options.watch(currentId);
  let leaving: Promise<void> | undefined;
  /** Ends the further tries to close the path before. */
  let noFurther = new AbortController();
  let nameFromMs = 0;

  /** Until somebody has heard it: a manager that restarts just then would let the old path carry packets to who is leaving. */
  async function closeHeard(old: Connection, further: AbortSignal): Promise<unknown> {
    let error = await closeQuietly(handler, old);
    for (const pauseMs of closeAgainMs) {
      if (error === undefined || !wasUnheard(error) || further.aborted) break;
      await delay(pauseMs, undefined, { signal: further }).catch(() => {});
      error = await closeQuietly(handler, old);
    }
    return error;
  }

  async function letGo(old: Connection, watched: Watch | undefined, further: AbortSignal): Promise<void> {
    await delay(options.lingerMs, undefined, { signal }).catch(() => {});
    watched?.stop();
    const error = await closeHeard(old, further);
    if (error !== undefined)
      log.info("a hop of the old path was not told of its end; it expires there", { connectionId: old.id, error });
  }

  function mayName(): boolean {
    return leaving === undefined && performance.now() >= nameFromMs;
  }

  return {
    get wish() {
      return mayName() ? { ...wish, mechanism: wished } : wish;
    },
    wanted: (connection) => (interfaceName !== undefined && mayName() ? renamed(connection, interfaceName) : connection),
    async make() {
      // The next one gets the id of the one before: nobody may close that any more.
      noFurther.abort();
      await leaving;
      next = wishBeside(wish, baseId);
      return await makeBeside({ ...options, wish: next });
    },
    leave(old) {
      if (next === undefined) return;
      wish = next;
      const watched = wish.id === baseId ? watch : undefined;
      if (wish.id !== baseId) watch = options.watch(wish.id);
      noFurther = new AbortController();
      leaving = letGo(old, watched, AbortSignal.any([signal, noFurther.signal])).then(() => {
        leaving = undefined;
        if (!signal.aborted) options.onGone();
      });
    },
    postponeName() {
      nameFromMs = performance.now() + nameAgainMs;
    },
    async idle() {
      await leaving;
      watch?.stop();
    },
  };
}
