/**
 * remember — keeps connections over a restart of the endpoint, so that nobody else is given their addresses meanwhile.
 * Needs:  context.previous (from `serialize`), context.undoOnFailure (from `undo`)
 * Does:   one small file per connection, written when it has changed, removed on close and when a first request fails further
 *         on or is withdrawn
 * Fails:  never: a full disk is logged, and the connection is then known only while this process lives
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { HasConnection } from "../elements/serialize.js";
import type { HasUndo } from "../elements/undo.js";
import { Connection } from "../gen/connection.js";
import type { Log } from "../telemetry/log.js";

export interface Memory {
  /** Connections of an earlier run, in our own terms. */
  readonly restored: readonly Connection[];
  readonly element: Element<ConnectionApi, HasConnection & HasUndo>;
  forget(id: string): void;
}

const suffix = ".connection";

/**
 * @param folder  made if absent; undefined = nothing is kept
 * @throws Error of the file system when the folder cannot be made or read
 */
export function remember(folder: string | undefined, log: Log): Memory {
  if (folder === undefined) return { restored: [], element: { name: "remember", steps: {} }, forget() {} };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const restored = readAll(folder, log);
  /** What each file holds apart from the path, whose times change at every refresh and are of no use after a restart. */
  const written = new Map(restored.map((connection) => [connection.id, essence(connection)]));
  const fileOf = (id: string): string => join(folder, `${createHash("sha256").update(id).digest("hex")}${suffix}`);

  function save(connection: Connection): void {
    const now = essence(connection);
    if (written.get(connection.id) === now) return;
    try {
      const file = fileOf(connection.id);
      writeFileSync(`${file}.new`, Connection.encode(connection).finish(), { mode: 0o600 });
      renameSync(`${file}.new`, file);
      written.set(connection.id, now);
    } catch (error) {
      log.warn("cannot keep the connection over a restart; is the disk full?", { connectionId: connection.id, folder, error });
    }
  }
  function forget(id: string): void {
    written.delete(id);
    try {
      rmSync(fileOf(id), { force: true });
    } catch (error) {
      log.warn("cannot forget the connection: after a restart its addresses stay reserved for a while", {
        connectionId: id,
        error,
      });
    }
  }

  return {
    restored,
    forget,
    element: {
      name: "remember",
      steps: {
        async request(request, { previous, undoOnFailure }, rest) {
          const connection = await rest.request(request);
          if (previous === undefined) undoOnFailure("remembered", () => forget(connection.id));
          save(connection);
          return connection;
        },
        async close(connection, _context, rest) {
          try {
            await rest.close(connection);
          } finally {
            forget(connection.id);
          }
        },
      },
    },
  };
}

function essence(connection: Connection): string {
  return Buffer.from(Connection.encode({ ...connection, path: undefined }).finish()).toString("latin1");
}

function readAll(folder: string, log: Log): Connection[] {
  const connections: Connection[] = [];
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    try {
      if (name.endsWith(suffix)) {
        const connection = Connection.decode(readFileSync(file));
        if (connection.id !== "") connections.push(connection);
      } else if (name.endsWith(`${suffix}.new`)) {
        rmSync(file, { force: true }); // the process ended while it was writing
      }
    } catch (error) {
      log.warn("a kept connection cannot be read and is dropped", { file, error });
      rmSync(file, { force: true });
    }
  }
  return connections;
}
