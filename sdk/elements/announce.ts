/**
 * announce — tells who watches what became of a connection.
 * Needs:  context.previous (from `serialize`)
 * Does:   UPDATE after each success, UPDATE with state DOWN after a failed refresh, DELETE after close
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import { type Connection, State } from "../gen/connection.js";
import type { HasConnection } from "./serialize.js";

/** The part of a monitor hub that is told (monitor/hub.ts). */
export interface Announcements {
  publish(connection: Connection): void;
  remove(connection: Connection): void;
}

export function announce(hub: Announcements): Element<ConnectionApi, HasConnection> {
  return {
    name: "announce",
    steps: {
      async request(request, { previous, signal }, rest) {
        try {
          const connection = await rest.request(request);
          hub.publish(connection.state === State.UP ? connection : { ...connection, state: State.UP });
          return connection;
        } catch (error) {
          // A caller that took its refresh back says nothing about the connection.
          const withdrawn = signal.aborted && (signal.reason as Error | undefined)?.name === "AbortError";
          if (previous !== undefined && !withdrawn) hub.publish({ ...previous, state: State.DOWN });
          throw error;
        }
      },
      async close(connection, _context, rest) {
        try {
          await rest.close(connection);
        } finally {
          hub.remove(connection);
        }
      },
    },
  };
}
