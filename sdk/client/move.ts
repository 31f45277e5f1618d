/**
 * Moves of one kept connection from path to path: which one is the current one, what of the last one still stands, and when
 * the interface gets its own name back.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ConnectionApi } from "../api.js";
import type { Handler } from "../chain.js";
import type { Connection } from "../gen/connection.js";
import { sharedParameter } from "../mechanisms/parameters.js";
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
  let nameFromMs = 0;

  async function letGo(old: Connection, watched: Watch | undefined): Promise<void> {
    await delay(options.lingerMs, undefined, { signal }).catch(() => {});
    watched?.stop();
    const error = await closeQuietly(handler, old);
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
      await leaving;
      next = wishBeside(wish, baseId);
      return await makeBeside({ ...options, wish: next });
    },
    leave(old) {
      if (next === undefined) return;
      wish = next;
      const watched = wish.id === baseId ? watch : undefined;
      if (wish.id !== baseId) watch = options.watch(wish.id);
      leaving = letGo(old, watched).then(() => {
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
