/**
 * Closes that a next hop has not heard yet, kept where the process finds them after its own end: it may be killed between letting go of
 * a connection and the next hop's answer, and what stays there would live as long as its token.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Connection } from "../gen/connection.js";
import { nextSegment } from "../path.js";
import type { Log } from "../telemetry/log.js";

export interface OwedClose {
  readonly url: string;
  /** In our own terms, as for a Close to the next hop. */
  readonly connection: Connection;
}

export interface OwedCloses {
  /** From now on it is owed, also by a later run of this process. */
  note(owed: OwedClose): void;
  /** It was heard, is not wanted any more, or has to be left to expire. Nothing owed is fine. */
  settle(owed: OwedClose): void;
  all(): readonly OwedClose[];
}

/** The next hop knows the connection by the id in its own segment. */
export function closeKey({ url, connection }: OwedClose): string {
  return `${url} ${nextSegment(connection)?.id ?? connection.id}`;
}

const suffix = ".close";

/**
 * One small file each, never synced: what a next hop has ends with its machine, and so may this.
 * @param folder  made if absent
 * @throws Error of the file system when the folder cannot be made
 */
export function keepOwedCloses(folder: string, log: Log): OwedCloses {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fileOf = (owed: OwedClose): string => join(folder, `${digest(closeKey(owed))}${suffix}`);
  return {
    note(owed) {
      try {
        writeFileSync(fileOf(owed), encode(owed), { mode: 0o600 });
      } catch (error) {
        log.warn("a close cannot be kept over a restart; is the disk full?", { connectionId: owed.connection.id, folder, error });
      }
    },
    settle(owed) {
      try {
        rmSync(fileOf(owed), { force: true });
      } catch (error) {
        log.warn("a close that was heard stays noted; it is told again after a restart", {
          connectionId: owed.connection.id,
          error,
        });
      }
    },
    all: () => readdirSync(folder).flatMap((name) => (name.endsWith(suffix) ? (read(join(folder, name)) ?? []) : [])),
  };
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 40);
}

/** Length of the URL as 32 bits, big-endian, the URL, the connection. */
function encode({ url, connection }: OwedClose): Uint8Array {
  const where = Buffer.from(url);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(where.length);
  return Buffer.concat([length, where, Connection.encode(connection).finish()]);
}

/** Undefined, and gone, when it is half written: the process ended before it had let go of anything. */
function read(file: string): OwedClose | undefined {
  try {
    const bytes = readFileSync(file);
    const end = 4 + bytes.readUInt32BE(0);
    if (end > bytes.length) throw new RangeError("cut off");
    return { url: bytes.toString("utf8", 4, end), connection: Connection.decode(bytes.subarray(end)) };
  } catch {
    rmSync(file, { force: true });
    return undefined;
  }
}
