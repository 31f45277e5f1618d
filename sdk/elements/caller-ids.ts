/**
 * Which connections of ours belong to which id of the hop before us. A caller whose Request was not answered does not know the id
 * that we gave; when it closes, or asks again, it names its own only, and what earlier Requests made must not stay behind.
 */
import type { Connection } from "../gen/connection.js";
import { previousSegment } from "../path.js";

export interface CallerIds {
  /** Our ids of all that this caller has asked for by its own id, the last one at the end. */
  idsFor(connection: Connection): readonly string[];
  /** What a caller does not mean any more, now that it is answered this one: what it asked for before, or this, when it has asked since. */
  unwanted(ownId: string): readonly string[];
  /** From now on the caller means this connection. */
  note(connection: Connection): void;
  /** The connection with this id of ours is gone, or never came to be: the caller means what it has asked for before. */
  forget(ownId: string): void;
}

const none: readonly string[] = [];

/** @param ownerOf  whose a connection is: names and ids of segments are claims, and nobody reaches what is another's by claiming them */
export function createCallerIds(ownerOf: (connection: Connection) => string): CallerIds {
  const ids = new Map<string, readonly string[]>();
  const callers = new Map<string, string>();

  function keyOf(connection: Connection): string | undefined {
    const caller = previousSegment(connection);
    return caller === undefined ? undefined : `${ownerOf(connection)} ${caller.name} ${caller.id}`;
  }

  function forget(ownId: string): void {
    const key = callers.get(ownId);
    if (key === undefined) return;
    callers.delete(ownId);
    const left = (ids.get(key) ?? none).filter((id) => id !== ownId);
    if (left.length > 0) ids.set(key, left);
    else ids.delete(key);
  }

  return {
    idsFor: (connection) => ids.get(keyOf(connection) ?? "") ?? none,
    unwanted(ownId) {
      const asked = ids.get(callers.get(ownId) ?? "") ?? [ownId];
      return asked.at(-1) === ownId ? asked.slice(0, -1) : [ownId];
    },
    note(connection) {
      const key = keyOf(connection);
      if (key === undefined || ids.get(key)?.at(-1) === connection.id) return;
      forget(connection.id);
      ids.set(key, [...(ids.get(key) ?? none), connection.id]);
      callers.set(connection.id, key);
    },
    forget,
  };
}
