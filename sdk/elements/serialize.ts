/**
 * serialize — one thing at a time for each connection, and the memory of what it was last.
 * Needs:  context.ownIdIsGiven (from `enter-path`), if it is there
 * Adds:   context.previous (the connection as last answered; undefined on a first request) and context.events, by which
 *         anything in this process closes or changes the connection, in the same queue
 * Does:   a failed first request leaves nothing, nor does one whose answer nobody took; a failed refresh keeps what was; Close
 *         uses the last stored connection, outlives its caller and is bounded in time; a reselect first closes what it replaces
 * Fails:  RESOURCE_EXHAUSTED when too many calls wait for one connection; the caller's abort reason when it leaves the queue;
 *         what the ownership says, when the connection is somebody else's: such a call neither waits nor changes anything
 */
import type { ConnectionApi } from "../api.js";
import type { CallContext, Detachable, Element, Rest } from "../chain.js";
import { Connection, State } from "../gen/connection.js";
import type { NetworkServiceRequest } from "../gen/networkservice.js";
import { nextSegment, previousSegment } from "../path.js";
import type { OwnerBook } from "../policies/owner-book.js";
import type { Log } from "../telemetry/log.js";
import { timestampMs } from "../timestamp.js";
import { createCallerIds } from "./caller-ids.js";
import type { HasOwnId } from "./enter-path.js";
import { standInLine } from "./stand-in-line.js";
import { withinTime } from "./time-limit.js";
import { withTokensOf } from "./with-tokens-of.js";

export interface HasConnection {
  /** The connection in our own terms as it was after the last success; undefined on a first request. */
  readonly previous: Connection | undefined;
  readonly events: ConnectionEvents;
}

/** What may happen to a connection from inside this process. Calls for a connection that has gone are ignored. */
export interface ConnectionEvents {
  /** Closes it from the element after `serialize` on. */
  close(reason: string): void;
  /** Replaces the stored connection, after something was learned about it elsewhere. */
  changed(connection: Connection): void;
}

export interface Serialize extends Element<ConnectionApi, Partial<HasOwnId>, HasConnection> {
  /** All live connections, as last stored. */
  connections(): Iterable<Connection>;
  /**
   * Stores a connection of a former run that was learned of later. False: somebody has asked for it meanwhile, and what he is
   * answered counts; when he is answered nothing good it is stored then, and `onLater` is called.
   */
  restore(connection: Connection, onLater?: () => void): boolean;
  /** Whether a connection of this request's caller has been restored since it asked. */
  isSuperseded(connection: Connection): boolean;
}

/** Whose a connection is; the owner comes and goes with the connection. */
export interface Ownership {
  /** Of a connection in our own terms; "" = nobody can tell. */
  ownerOf(connection: Connection): string;
  /** Throws when the one who asks is not the owner. */
  demand(owner: string, asked: Connection, method: "request" | "close", context: CallContext): void;
  /** What is known of connections beyond this run of the process; absent = nothing. */
  readonly book?: Pick<OwnerBook, "ownerOf" | "set" | "delete"> | undefined;
}

export interface SerializeOptions {
  /** Connections in our own terms that a former run of this process had. */
  readonly restored?: Iterable<Connection>;
  readonly log: Log;
  /** Bound of one Close, in milliseconds. */
  readonly closeTimeoutMs?: number;
  /** Closes a connection of a former run, for which nobody has asked in this one, from the first element on. */
  readonly closeRestored?: ((connection: Connection) => Promise<void>) | undefined;
  /**
   * Awaited before a Close of what is unknown counts as done: connections of a former run may still become known.
   * Throws when that cannot be waited for: who closes has to do it again.
   */
  readonly knowsAll?: ((signal: AbortSignal) => Promise<void>) | undefined;
  /** Absent = a connection is whoever's names its id (insecure mode). */
  readonly ownership?: Ownership | undefined;
}

type Onward = Rest<ConnectionApi, HasConnection> & Detachable<ConnectionApi, HasConnection>;

interface Entry {
  readonly id: string;
  readonly events: ConnectionEvents;
  stored: Connection | undefined;
  /** Whose it is; undefined while nobody has it. */
  owner: string | undefined;
  /** The way onward, free of the call it came with; undefined for a restored connection nobody has asked for yet. */
  onward: Onward | undefined;
  /** Number of the newest answer of ours, over all connections. */
  answer: number;
  busy: boolean;
  /** Of a former run, for the case that the call under way fails. */
  spare: (() => void) | undefined;
  readonly queue: (() => void)[];
}

const never = new AbortController().signal;
const noMetadata = (): readonly string[] => [];

export function serialize(options: SerializeOptions): Serialize {
  const { log, closeTimeoutMs = 15_000, ownership } = options;
  const entries = new Map<string, Entry>();
  const callerIds = createCallerIds((connection) => ownership?.ownerOf(connection) ?? "");
  let answers = 0;
  for (const connection of options.restored ?? []) restore(connection);

  function restore(connection: Connection, onLater: () => void = () => {}): boolean {
    const isAsked = entries.has(connection.id);
    const entry = entryOf(connection.id);
    const store = (): void => {
      entry.stored = connection;
      callerIds.note(connection);
      entry.owner = ownership?.ownerOf(connection);
    };
    if (!isAsked) store();
    else if (entry.stored === undefined) {
      entry.spare = () => {
        store();
        onLater();
      };
    }
    return !isAsked;
  }

  function entryOf(id: string): Entry {
    const known = entries.get(id);
    if (known !== undefined) return known;
    const events: ConnectionEvents = {
      close: (reason) => closeLater(entry, reason),
      changed(connection) {
        if (entry.stored !== undefined) entry.stored = connection;
      },
    };
    const entry = newEntry(id, events);
    entries.set(id, entry);
    return entry;
  }

  /** Runs work when it is this call's turn for the connection. */
  async function turn<T>(entry: Entry, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (entry.busy) await standInLine(entry, signal);
    else entry.busy = true;
    try {
      return await work();
    } finally {
      if (entry.stored === undefined) entry.spare?.();
      entry.spare = undefined;
      if (entry.stored === undefined) entry.owner = undefined;
      const next = entry.queue.shift();
      if (next !== undefined) next();
      else {
        entry.busy = false;
        if (entry.stored === undefined && entries.delete(entry.id)) callerIds.forget(entry.id);
      }
    }
  }

  async function closeFromInside(entry: Entry, reason: string): Promise<void> {
    const { stored, onward } = entry;
    if (stored === undefined || onward === undefined) return;
    log.info(`closing the connection: ${reason}`, { connectionId: entry.id });
    entry.owner = undefined;
    await closeStored(entry, stored, onward, undefined);
  }

  /** When it is its turn; of a certain answer: unless it was requested again since. */
  function closeLater(entry: Entry, reason: string, answer?: number): void {
    const { stored, onward } = entry;
    if (stored === undefined) return;
    const failed = (error: unknown): void => log.warn(`close after "${reason}" failed`, { connectionId: entry.id, error });
    if (onward === undefined && options.closeRestored !== undefined) {
      log.info(`closing a connection of a former run: ${reason}`, { connectionId: entry.id });
      options.closeRestored(stored).catch(failed);
      return;
    }
    const close = async (): Promise<void> => {
      if (answer === undefined || entry.answer === answer) await closeFromInside(entry, reason);
    };
    turn(entry, undefined, close).catch(failed);
  }

  /** Holds on to nothing of the call, for the transport keeps it long after. */
  const closeUntaken = (id: string, answer: number) => (): void => {
    const entry = entries.get(id);
    if (entry !== undefined) closeLater(entry, "its caller did not take the answer", answer);
  };

  /** Whatever becomes of the close: the connection is gone here, and later hops let theirs expire. */
  async function closeStored(entry: Entry, stored: Connection, onward: Onward, traceparent: string | undefined): Promise<void> {
    entry.stored = undefined;
    entry.onward = undefined;
    entry.spare = undefined;
    ownership?.book?.delete(entry.id);
    await pass(entry, stored, onward, { previous: stored, traceparent });
  }

  function pass(
    { events }: Entry,
    connection: Connection,
    onward: Onward,
    { previous, traceparent }: { previous: Connection | undefined; traceparent: string | undefined },
  ): Promise<void> {
    return withinTime(closeTimeoutMs, (signal, deadlineMs) =>
      onward.detach({ signal, deadlineMs, traceparent }).close(connection, { previous, events }),
    );
  }

  /** Before waiting for the turn and again in it: it may have changed hands meanwhile. */
  function demand(entry: Entry | undefined, asked: Connection, method: "request" | "close", context: CallContext): void {
    const owner = entry?.owner ?? ownership?.book?.ownerOf(asked.id);
    if (owner !== undefined) ownership?.demand(owner, asked, method, context);
  }

  async function request(input: NetworkServiceRequest, context: CallContext, rest: Onward): Promise<Connection> {
    const connection = input.connection ?? Connection.fromPartial({});
    demand(entries.get(connection.id), connection, "request", context);
    const entry = entryOf(connection.id);
    return turn(entry, context.signal, async () => {
      demand(entry, connection, "request", context);
      entry.owner ??= ownership?.ownerOf(connection);
      callerIds.note(connection);
      const isFirst = entry.stored === undefined;
      if (connection.state === State.RESELECT_REQUESTED && entry.stored !== undefined) {
        await closeStored(entry, entry.stored, rest, context.traceparent).catch((error) => {
          log.info("close before reselect failed; going on", { connectionId: entry.id, error });
        });
      }
      const answer = await rest.request(input, { previous: entry.stored, events: entry.events });
      entry.stored = answer.state === State.UP ? answer : { ...answer, state: State.UP };
      entry.onward = rest.detach({ signal: never, metadata: noMetadata, peer: { kind: "self" } });
      if (entry.owner) ownership?.book?.set(entry.id, entry.owner, endOf(connection));
      entry.answer = ++answers;
      if (isFirst) context.whenUntaken?.(closeUntaken(entry.id, answers));
      closeUnknown(entries, callerIds.unwanted(entry.id));
      return entry.stored;
    });
  }

  return {
    name: "serialize",
    steps: {
      request,
      async close(connection, context, rest) {
        // Who names ours means that one: a close that comes late must not hit what its caller has asked for since.
        const askedFor = (): readonly string[] => (context.ownIdIsGiven ? [connection.id] : callerIds.idsFor(connection));
        const isKnown = (): boolean => entries.has(connection.id) || entries.has(askedFor().at(-1) ?? "");
        if (!isKnown()) await withinTime(closeTimeoutMs, async (signal) => options.knowsAll?.(signal));
        const asked = askedFor();
        const known = entries.get(connection.id) ?? entries.get(asked.at(-1) ?? "");
        demand(known, connection, "close", context);
        closeUnknown(entries, asked.slice(0, -1));
        const entry = known ?? entryOf(connection.id);
        // What has been asked to go goes, even when the one who asked does not wait for it.
        await turn(entry, undefined, async () => {
          demand(entry, connection, "close", context);
          entry.spare = undefined;
          const stored = entry.stored && withTokensOf(connection, entry.stored);
          if (stored !== undefined) return closeStored(entry, stored, rest, context.traceparent);
          ownership?.book?.delete(entry.id);
          // Unknown, but its path goes on: this process may have restarted while later hops kept theirs.
          if (nextSegment(connection) !== undefined) {
            return pass(entry, connection, rest, { previous: undefined, traceparent: context.traceparent });
          }
        });
      },
    },
    restore,
    isSuperseded: (asked) => (entries.get(callerIds.idsFor(asked).at(-1) ?? "")?.stored?.id ?? asked.id) !== asked.id,
    *connections() {
      for (const { stored } of entries.values()) if (stored !== undefined) yield stored;
    },
  };
}

function newEntry(id: string, events: ConnectionEvents): Entry {
  return {
    id,
    events,
    stored: undefined,
    owner: undefined,
    onward: undefined,
    answer: 0,
    busy: false,
    spare: undefined,
    queue: [],
  };
}

function closeUnknown(entries: ReadonlyMap<string, Entry>, ids: readonly string[]): void {
  for (const id of ids) entries.get(id)?.events.close("its caller has asked anew and does not know of it");
}

/** When the hop before us stops vouching for it (elements/expire.ts), in milliseconds since the epoch. */
function endOf(connection: Connection): number {
  const expires = previousSegment(connection)?.expires;
  return expires === undefined ? 0 : timestampMs(expires);
}
