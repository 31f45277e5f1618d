/**
 * Which connection of ours belongs to which id of the hop before us. A caller whose Request was not answered does not know the id
 * that we gave; when it closes, or asks again, it names its own only, and what the first Request made must not stay behind.
 */
import type { Connection } from "../gen/connection.js";
import { previousSegment } from "../path.js";

export interface CallerIds {
  /** Our id of the connection that this caller means. */
  ownIdFor(connection: Connection): string | undefined;
  /** From now on the caller's id stands for this connection. @returns the one for which it stood before, if another */
  note(connection: Connection): string | undefined;
  /** The connection with this id of ours is gone. */
  forget(ownId: string): void;
}

export function createCallerIds(): CallerIds {
  const ownIds = new Map<string, string>();
  const callers = new Map<string, string>();
  return {
    ownIdFor: (connection) => ownIds.get(keyOf(connection) ?? ""),
    note(connection) {
      const key = keyOf(connection);
      if (key === undefined) return undefined;
      const before = ownIds.get(key);
      if (before === connection.id) return undefined;
      this.forget(connection.id);
      ownIds.set(key, connection.id);
      callers.set(connection.id, key);
      return before;
    },
    forget(ownId) {
      const key = callers.get(ownId);
      callers.delete(ownId);
      if (key !== undefined && ownIds.get(key) === ownId) ownIds.delete(key);
    },
  };
}

function keyOf(connection: Connection): string | undefined {
  const caller = previousSegment(connection);
  return caller === undefined ? undefined : `${caller.name} ${caller.id}`;
}
