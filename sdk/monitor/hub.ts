/**
 * The monitor of one component: holds its live connections and tells every subscriber of their changes.
 * The first message of a subscription is an INITIAL_STATE_TRANSFER, sent at once even when it is empty: NSM clients wait
 * for it before their first request. An event is one object for all subscribers, so that it is encoded once.
 */
import { type Connection, type ConnectionEvent, ConnectionEventType, type MonitorScopeSelector } from "../gen/connection.js";
import { Code, statusError } from "../status.js";
import { selects } from "./selector.js";

export interface MonitorHub {
  /** The connection is as given: first seen or changed. */
  publish(connection: Connection): void;
  /** The connection has gone; an unknown one is ignored. */
  remove(connection: Connection): void;
  /** Current state, then changes until the signal aborts. Throws RESOURCE_EXHAUSTED to a reader that falls too far behind. */
  subscribe(selector: MonitorScopeSelector, signal: AbortSignal): AsyncIterable<ConnectionEvent>;
  /** All live connections, as last published. */
  connections(): Iterable<Connection>;
  get(id: string): Connection | undefined;
}

interface Subscriber {
  readonly selector: MonitorScopeSelector;
  /** What is still to be sent of each connection: at most a DELETE and then an UPDATE. Newer news replaces older. */
  readonly pending: Map<string, ConnectionEvent[]>;
  overrun: boolean;
  wake: () => void;
}

/** Connections in one message of the initial state, so that it stays far below the message limit. */
const initialBatch = 200;

/** @param options.maxPending  connections with unsent news after which a subscriber is dropped */
export function createMonitorHub({ maxPending = 20_000 }: { maxPending?: number } = {}): MonitorHub {
  const live = new Map<string, Connection>();
  const subscribers = indexSubscribers();

  function tell(type: ConnectionEventType, connection: Connection, former: Connection | undefined): void {
    let event: ConnectionEvent | undefined;
    for (const subscriber of subscribers.concernedBy(connection, former)) {
      // Who was told of it hears of its end even if it no longer matches.
      if (!selects(subscriber.selector, connection) && !(former !== undefined && selects(subscriber.selector, former))) continue;
      event ??= { type, connections: { [connection.id]: connection } };
      const waiting = subscriber.pending.get(connection.id);
      if (waiting === undefined) subscriber.pending.set(connection.id, [event]);
      else if (type === ConnectionEventType.DELETE) waiting.splice(0, waiting.length, event);
      else if (waiting.at(-1)?.type === ConnectionEventType.DELETE) waiting.push(event);
      else waiting.splice(-1, 1, event);
      if (subscriber.pending.size > maxPending) {
        subscriber.overrun = true;
        subscriber.pending.clear();
      }
      subscriber.wake();
    }
  }

  return {
    publish(connection) {
      const former = live.get(connection.id);
      live.set(connection.id, connection);
      tell(ConnectionEventType.UPDATE, connection, former);
    },
    remove({ id }) {
      const connection = live.get(id);
      if (connection === undefined) return;
      live.delete(id);
      tell(ConnectionEventType.DELETE, connection, undefined);
    },
    async *subscribe(selector, signal) {
      const subscriber: Subscriber = { selector, pending: new Map(), overrun: false, wake() {} };
      const wake = (): void => subscriber.wake();
      subscribers.add(subscriber);
      signal.addEventListener("abort", wake);
      try {
        yield* initialState([...live.values()].filter((connection) => selects(selector, connection)));
        while (!signal.aborted) {
          if (subscriber.overrun) throw statusError(Code.RESOURCE_EXHAUSTED, "the monitor fell too far behind; subscribe again");
          const [first] = subscriber.pending;
          if (first !== undefined) {
            subscriber.pending.delete(first[0]);
            yield* first[1];
          } else {
            await new Promise<void>((resolve) => {
              subscriber.wake = resolve;
            });
          }
        }
      } finally {
        subscribers.remove(subscriber);
        signal.removeEventListener("abort", wake);
      }
    },
    connections: () => live.values(),
    get: (id) => live.get(id),
  };
}

function* initialState(connections: readonly Connection[]): Iterable<ConnectionEvent> {
  let type: ConnectionEventType = ConnectionEventType.INITIAL_STATE_TRANSFER;
  for (let start = 0; start === 0 || start < connections.length; start += initialBatch) {
    const batch = connections.slice(start, start + initialBatch);
    yield { type, connections: Object.fromEntries(batch.map((connection) => [connection.id, connection])) };
    // More than one message: the rest follows as changes, which every client understands.
    type = ConnectionEventType.UPDATE;
  }
}

/**
 * Finds who may care for a connection without asking everybody: a client watches its own connection by a segment id, and
 * there are as many clients as connections.
 */
function indexSubscribers(): {
  add(subscriber: Subscriber): void;
  remove(subscriber: Subscriber): void;
  concernedBy(connection: Connection, former: Connection | undefined): Set<Subscriber>;
} {
  const bySegmentId = new Map<string, Set<Subscriber>>();
  const others = new Set<Subscriber>();
  const keyOf = ({ selector }: Subscriber): string | undefined => selector.path_segments.find((segment) => segment.id !== "")?.id;
  return {
    add(subscriber) {
      const key = keyOf(subscriber);
      if (key === undefined) {
        others.add(subscriber);
        return;
      }
      const same = bySegmentId.get(key);
      if (same === undefined) bySegmentId.set(key, new Set([subscriber]));
      else same.add(subscriber);
    },
    remove(subscriber) {
      others.delete(subscriber);
      const key = keyOf(subscriber);
      const same = key === undefined ? undefined : bySegmentId.get(key);
      same?.delete(subscriber);
      if (key !== undefined && same?.size === 0) bySegmentId.delete(key);
    },
    concernedBy(connection, former) {
      const found = new Set(others);
      for (const { id } of [...(connection.path?.path_segments ?? []), ...(former?.path?.path_segments ?? [])]) {
        for (const subscriber of bySegmentId.get(id) ?? []) found.add(subscriber);
      }
      return found;
    },
  };
}
