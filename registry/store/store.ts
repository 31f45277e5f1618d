/**
 * What keeps the entries of a registry. Reading is always from memory (`Table`), so that a Find never waits; writing
 * may wait for a disk or for other replicas. A store that is shared between replicas (etcd, Kubernetes) feeds its table
 * from a watch and refuses a `replace` whose expectation somebody else has overtaken.
 */
import type { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import type { Entry } from "../kind.js";

/** The place of one name from its registration to its removal. Places are in the order of their registration. */
export interface Place<T> {
  /** Grows with each registration of a new name. */
  readonly order: number;
  /** The entry as it is now; undefined once it is removed. Entries never change, they are replaced. */
  readonly entry: T | undefined;
  /** Of whoever expires the entries: when it looks at this place next. Here because a map beside would weigh more. */
  dueMs: number;
}

/** One change of the table. Without `previous` the name is new; without `next` it is gone. */
export interface Change<T> {
  readonly place: Place<T>;
  readonly previous: T | undefined;
  readonly next: T | undefined;
}

/** The entries in memory, indexed by name, by service and by url. */
export interface Table<T extends Entry> {
  readonly size: number;
  get(name: string): T | undefined;
  /**
   * Where the entries are that answer a query, oldest first. Costs as much as the smallest of the sets that the
   * query's name, services and url mean; only a query with none of these looks at every entry.
   */
  select(query: T): readonly Place<T>[];
  /** Every place, oldest first. */
  places(): Iterable<Place<T>>;
  /** Is told of each change at the moment it becomes visible, in order. Must not throw. Returns how to stop it. */
  subscribe(listener: (change: Change<T>) => void): () => void;
}

export interface Store<T extends Entry> {
  readonly table: Table<T>;
  /**
   * Puts `next` where `expected` is, under one name: undefined `expected` = nothing is there yet, undefined `next` =
   * remove. Resolves when the change is visible and safe: what has been acknowledged survives whatever the store
   * promises to survive. A change that is refused has left no trace.
   * @param expected  the very object that the table gave
   * @throws ABORTED when something else is there by now: read again and decide again
   * @throws RESOURCE_EXHAUSTED when there is no room left for it
   * @throws UNAVAILABLE when the store cannot be reached or is closed
   */
  replace(name: string, expected: T | undefined, next: T | undefined): Promise<void>;
}

export interface Staleness {
  /** Milliseconds since the epoch. */
  readonly sinceMs: number;
  readonly why: string;
}

/** Both kinds of a registry, opened and closed together. */
export interface Stores {
  readonly services: Store<NetworkService>;
  readonly endpoints: Store<NetworkServiceEndpoint>;
  /**
   * For a store that is kept elsewhere: since when what is read may be older than what is there, and why; undefined =
   * it is not.
   */
  staleness?(): Staleness | undefined;
  /** Waits for what is being written. */
  close(): Promise<void>;
}
