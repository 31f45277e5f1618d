/**
 * Whose a connection or an entry is, kept over a restart of a process that keeps nothing else of it: in the time between
 * a kill and the owner's next call nobody else can take it over.
 *
 * A file of lines, each a change: ["key","owner",endMs] or ["key"]. It is written before the call is answered, so a killed
 * process has lost nothing (a machine that stops has lost the connections as well: nothing is synchronised). It is made
 * anew, by renaming, at the start and whenever most of it is history. A disk that is full or gone never refuses a call:
 * what cannot be written is held in memory, said once in the log, and written when there is room again.
 */
import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { lockFile } from "../linux/lock-file.js";
import type { Log } from "../telemetry/log.js";

export interface OwnerBook {
  /** undefined = nobody's, as far as is known, or its time is over. */
  ownerOf(key: string): string | undefined;
  /** @param endMs  until when it is theirs without a word, in milliseconds since the epoch */
  set(key: string, owner: string, endMs: number): void;
  delete(key: string): void;
  close(): void;
}

export interface OwnerBookOptions {
  /** A directory that exists. One process at a time may use it. */
  readonly dir: string;
  readonly log: Log;
  readonly nowMs: () => number;
}

type Owned = readonly [owner: string, endMs: number];

/** A file below so many lines is not worth making anew. */
const fewLines = 1024;
/** After a failed write, in milliseconds: each try costs all that is kept. */
const retryAfterMs = 1_000;

/** @throws ALREADY_EXISTS when another process uses the directory; Node's error when the lock cannot be made or the file read */
export function openOwnerBook({ dir, log, nowMs }: OwnerBookOptions): OwnerBook {
  const unlock = lockFile(join(dir, "owners.lock"), `the owners kept in ${dir}`);
  const path = join(dir, "owners");
  const owned = readOwned(path);
  let fd: number | undefined;
  let lines = 0;
  let failedMs: number | undefined;

  function dropEnded(): void {
    const now = nowMs();
    for (const [key, [, endMs]] of owned) if (endMs <= now) owned.delete(key);
  }

  /** The whole file, in the place of the old one. */
  function makeAnew(): void {
    dropEnded();
    const text = [...owned].map(([key, [owner, endMs]]) => lineOf(key, owner, endMs)).join("");
    writeFileSync(`${path}.new`, text, { mode: 0o600 });
    const next = openSync(`${path}.new`, "a", 0o600);
    try {
      renameSync(`${path}.new`, path);
    } catch (error) {
      closeSync(next);
      throw error;
    }
    if (fd !== undefined) closeSync(fd);
    fd = next;
    lines = owned.size;
  }

  function write(line: string): void {
    try {
      if (failedMs !== undefined && nowMs() - failedMs < retryAfterMs) return;
      // a line that came through in part ends what can be appended
      if (fd === undefined || failedMs !== undefined || lines >= Math.max(fewLines, 4 * owned.size)) makeAnew();
      else {
        const bytes = Buffer.from(line);
        if (writeSync(fd, bytes) < bytes.length) throw new Error("the disk is full");
        lines++;
      }
      if (failedMs !== undefined) log.info("owners are kept over a restart again", { dir });
      failedMs = undefined;
    } catch (error) {
      if (failedMs === undefined) {
        log.warn("owners cannot be written: they hold until this process ends, not over its restart; free some room", {
          dir,
          error,
        });
      }
      failedMs = nowMs();
    }
  }

  write("");
  return {
    ownerOf(key) {
      const [owner, endMs] = owned.get(key) ?? ["", 0];
      return endMs > nowMs() ? owner : undefined;
    },
    set(key, owner, endMs) {
      const [knownOwner, knownEndMs] = owned.get(key) ?? ["", 0];
      if (knownOwner === owner && knownEndMs === endMs) return;
      owned.set(key, [owner, endMs]);
      write(lineOf(key, owner, endMs));
    },
    delete(key) {
      if (owned.delete(key)) write(`${JSON.stringify([key])}\n`);
    },
    close() {
      if (fd !== undefined) closeSync(fd);
      fd = undefined;
      unlock();
    },
  };
}

function lineOf(key: string, owner: string, endMs: number): string {
  return `${JSON.stringify([key, owner, endMs])}\n`;
}

/** What the lines come to; a line that is cut off or makes no sense says nothing. */
function readOwned(path: string): Map<string, Owned> {
  const owned = new Map<string, Owned>();
  for (const line of textOf(path).split("\n")) {
    const [key, owner, endMs] = changeIn(line);
    if (typeof key !== "string") continue;
    if (owner === undefined) owned.delete(key);
    else if (typeof owner === "string" && typeof endMs === "number") owned.set(key, [owner, endMs]);
  }
  return owned;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

function changeIn(line: string): readonly unknown[] {
  if (line === "") return [];
  try {
    const change: unknown = JSON.parse(line);
    return Array.isArray(change) ? change : [];
  } catch {
    return [];
  }
}
