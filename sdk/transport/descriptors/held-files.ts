/**
 * Files that callers have given to us by descriptor, for as long as their connections need them: until Close, or until
 * what vouches for the connection has ended. While a caller names the same file, it keeps its path.
 */
import type { Connection } from "../../gen/connection.js";
import { rememberNetns } from "../../linux/find-netns.js";
import type { HeldFile } from "../../peer.js";
import { timestampMs } from "../../timestamp.js";
import type { Renaming } from "./names.js";
import type { FileKeeping } from "./server-calls.js";

/** The files of one request, by the caller's names of them. */
export interface FileLease {
  /** The caller's names and our own. */
  readonly renaming: Renaming;
  /** The request has succeeded: the connection has them now, and those of its earlier requests are closed. */
  keep(): void;
  /** Closes what has not been kept. */
  giveUp(): void;
}

export interface HeldFiles {
  /** Takes the files over. */
  lease(connection: Connection | undefined, files: ReadonlyMap<string, HeldFile>): FileLease;
  /** The connection is closed. */
  release(connection: Connection): void;
}

/** A file that more than one request may be using. */
interface Shared {
  readonly file: HeldFile;
  users: number;
}

interface Held {
  readonly files: ReadonlyMap<string, Shared>;
  readonly untilMs: number;
}

const maxConnections = 4096;
/** Beyond the end of what vouches for a connection: closing it takes a while. */
const graceMs = 60_000;
/** For a connection that does not say how long it lives. */
const defaultMs = 15 * 60_000;

export function createHeldFiles(
  keeping: FileKeeping = "connection",
  nowMs: () => number = Date.now,
  sweepEveryMs = 30_000,
): HeldFiles {
  let armed = false;
  /** Longest untouched first. */
  const held = new Map<string, Held>();

  function drop(id: string): void {
    for (const shared of held.get(id)?.files.values() ?? []) leave(shared);
    held.delete(id);
  }

  function sweep(): void {
    const now = nowMs();
    for (const [id, { untilMs }] of held) if (untilMs <= now || held.size > maxConnections) drop(id);
    arm();
  }

  /** Nobody may come again who would set it off: what has ended goes by itself. */
  function arm(): void {
    if (armed || held.size === 0) return;
    armed = true;
    const timer = setTimeout(() => {
      armed = false;
      sweep();
    }, sweepEveryMs);
    // what it would close, the end of the process closes
    timer.unref();
  }

  return {
    lease(connection, files) {
      const id = idOf(connection);
      const known = held.get(id)?.files;
      const ours = new Map([...files].map(([url, file]) => [url, share(file, known?.get(url))]));
      let kept = false;
      return {
        renaming: new Map([...ours].map(([url, { file }]) => [url, keeping === "call" ? url : `file://${file.path}`])),
        keep() {
          if (keeping === "call") return this.giveUp();
          kept = true;
          if (ours.size === 0) return;
          drop(id);
          held.set(id, { files: ours, untilMs: endOf(connection, nowMs()) });
          sweep();
        },
        giveUp() {
          if (!kept) for (const shared of ours.values()) leave(shared);
          kept = true;
        },
      };
    },
    release: (connection) => drop(idOf(connection)),
  };
}

/** The file that the connection has already, rather than a second descriptor of it. */
function share(file: HeldFile, known: Shared | undefined): Shared {
  if (known === undefined) {
    // who built something in it finds it again by its inode, after a restart too
    rememberNetns(file.dev, file.ino, file.path);
    return { file, users: 1 };
  }
  file.close();
  known.users++;
  return known;
}

function leave(shared: Shared): void {
  shared.users--;
  if (shared.users === 0) shared.file.close();
}

/** The caller's id of the connection. */
function idOf(connection: Connection | undefined): string {
  return segmentOf(connection)?.id ?? connection?.id ?? "";
}

function endOf(connection: Connection | undefined, nowMs: number): number {
  const expires = segmentOf(connection)?.expires;
  return expires === undefined ? nowMs + defaultMs : Math.min(timestampMs(expires), nowMs + 24 * 3600_000) + graceMs;
}

function segmentOf(connection: Connection | undefined) {
  const path = connection?.path;
  return path === undefined ? undefined : path.path_segments[path.index];
}
