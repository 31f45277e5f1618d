/**
 * The store that survives: lmdb on disk, everything read from memory. An entry counts as stored when its transaction is
 * on the disk (fsync), so what was acknowledged outlives the process and the power. lmdb writes copies of pages and
 * switches over last: a write that fails (full disk) or is cut off leaves the state before it. Ends of leases are not
 * kept: they mean nothing after a restart, and a refresh every 40 s of each endpoint would be most of the writing.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Database, open, type RootDatabase } from "lmdb";
import { type Clock, systemClock } from "../../sdk/clock.js";
import type { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { lockFile } from "../../sdk/linux/lock-file.js";
import { Code, type StatusError, statusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { timestampMs } from "../../sdk/timestamp.js";
import { type Entry, endpointKind, type Kind, serviceKind } from "../kind.js";
import { type FullDisk, freeBytesOf, watchFullDisk } from "./full-disk.js";
import { inspectLmdbFile, reserveLockFile } from "./lmdb-file.js";
import { overtaken } from "./memory.js";
import type { Store, Stores } from "./store.js";
import { createTable } from "./table.js";

export interface LmdbOptions {
  /** Holds registry.mdb; one process at a time uses it. Made if missing. */
  readonly dir: string;
  readonly log: Log;
  readonly clock?: Clock;
  /**
   * Changes an endpoint as it comes back from the disk, in memory only. It must give a whole lease: a refresh that moves
   * nothing but the lease is not written.
   */
  readonly restore?: (entry: NetworkServiceEndpoint) => NetworkServiceEndpoint;
}

type Bytes = Database<Buffer, Buffer>;

/** Changes with the form of what is stored. */
const format = "1";

/**
 * Opens the store and reads everything in it.
 * @throws ALREADY_EXISTS when another process uses it; FAILED_PRECONDITION when it cannot be read, or is of another version
 */
export function openLmdbStores(options: LmdbOptions): Stores {
  const { dir, log, clock = systemClock, restore = (entry) => entry } = options;
  mkdirSync(dir, { recursive: true, mode: 0o750 });
  const unlock = lockFile(join(dir, "registry.lock"), `the registry's store in ${dir}`);
  let environment: RootDatabase | undefined;
  try {
    environment = openEnvironment(dir);
    const state = { closed: false, dir, disk: watchFullDisk(dir, { log, clock }) };
    const services = openStore(environment, "services", serviceKind, state, log);
    const endpoints = openStore(environment, "endpoints", endpointKind, state, log);
    services.load((entries) => entries);
    endpoints.load((entries) => entries.sort(byRegistration).map(restore));
    const opened = environment;
    return {
      services,
      endpoints,
      async close() {
        state.closed = true;
        await Promise.all([services.idle(), endpoints.idle()]);
        await opened.close();
        unlock();
      },
    };
  } catch (error) {
    void environment?.close();
    unlock();
    throw error;
  }
}

function openEnvironment(dir: string): RootDatabase {
  const path = join(dir, "registry.mdb");
  try {
    const damage = inspectLmdbFile(path);
    if (damage !== undefined) throw new Error(damage);
    reserveLockFile(path);
    // Without overlappingSync a write is resolved after its fsync; without eventTurnBatching a failed batch rejects
    // nothing but the promises that its writers hold.
    const environment = open({ path, encoding: "binary", overlappingSync: false, eventTurnBatching: false, maxDbs: 4 });
    const meta = environment.openDB<string, string>({ name: "meta", encoding: "string" });
    const found = meta.get("format");
    if (found === undefined) meta.putSync("format", format);
    else if (found !== format) throw new Error(`its format is ${found}, this version reads ${format}`);
    return environment;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw statusError(
      Code.FAILED_PRECONDITION,
      `the registry's store ${path} cannot be opened: ${why}; free some room, restore a copy, or move the file away to start empty`,
      error,
    );
  }
}

interface LoadedStore<T extends Entry> extends Store<T> {
  /** Fills the table from the disk. */
  load(prepare: (entries: T[]) => T[]): void;
  /** Resolves when nothing is being written. */
  idle(): Promise<void>;
}

interface State {
  closed: boolean;
  readonly dir: string;
  readonly disk: FullDisk;
}

function openStore<T extends Entry>(
  environment: RootDatabase,
  name: string,
  kind: Kind<T>,
  state: State,
  log: Log,
): LoadedStore<T> {
  const db: Bytes = environment.openDB<Buffer, Buffer>({ name, encoding: "binary", keyEncoding: "binary" });
  const table = createTable(kind);
  // One write at a time for each name; the next one decides by what it leaves.
  const writing = new Map<string, Promise<void>>();

  async function write(name: string, expected: T | undefined, next: T | undefined): Promise<void> {
    if (next !== undefined && expected !== undefined) {
      const kept = kind.compact(next, expected);
      if (kind.onlyLeaseDiffers(expected, kept)) {
        table.put(kept);
        return;
      }
    }
    const key = Buffer.from(name);
    const change = () => (next === undefined ? db.remove(key) : db.put(key, asBuffer(kind.encode(next))));
    await committed(change, state, `${kind.noun} ${name}`);
    if (next !== undefined) table.put(next);
    else if (expected !== undefined) table.remove(name);
  }

  return {
    table,
    async replace(name, expected, next) {
      for (let other = writing.get(name); other !== undefined; other = writing.get(name)) await other;
      if (state.closed) throw statusError(Code.UNAVAILABLE, "the registry is stopping: try again at once");
      if (table.get(name) !== expected) throw overtaken(kind.noun, name);
      const written = write(name, expected, next).finally(() => writing.delete(name));
      writing.set(
        name,
        written.catch(() => {}),
      );
      await written;
    },
    load(prepare) {
      const entries: T[] = [];
      for (const { key, value } of db.getRange({})) {
        try {
          // compact at once: 100,000 entries as they are decoded would leave the heap twice as large
          entries.push(kind.compact(kind.decode(Uint8Array.from(value)), undefined));
        } catch (error) {
          log.error(`a stored ${kind.noun} cannot be read and is left out`, { entry: key.toString(), error });
        }
      }
      for (const entry of prepare(entries)) table.put(entry);
    },
    async idle() {
      while (writing.size > 0) await Promise.all(writing.values());
    },
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const byRegistration = (a: NetworkServiceEndpoint, b: NetworkServiceEndpoint): number => registeredMs(a) - registeredMs(b);
function registeredMs({ initial_registration_time: time }: NetworkServiceEndpoint): number {
  return time === undefined ? 0 : timestampMs(time);
}

/**
 * Waits for a change to be on the disk.
 * @throws RESOURCE_EXHAUSTED the disk is full; UNAVAILABLE
 */
async function committed(change: () => Promise<boolean>, { dir, disk }: State, what: string): Promise<void> {
  const endTurn = await disk.turn();
  try {
    if (!disk.mayTry()) throw diskFull(dir, what);
    const cause = await failureOf(change);
    if (cause === undefined) return disk.written();
    if (saysFull(cause, dir)) {
      disk.found();
      throw diskFull(dir, what, cause);
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    throw statusError(Code.UNAVAILABLE, `${what} cannot be stored in ${dir}: ${why}; try again`, cause);
  } finally {
    endTurn();
  }
}

/** A failure of lmdb says "see commitError", which is a promise of the real one. */
async function failureOf(change: () => Promise<boolean>): Promise<unknown> {
  try {
    await change();
    return undefined;
  } catch (error) {
    return (await (error as { commitError?: Promise<unknown> }).commitError?.catch((cause: unknown) => cause)) ?? error;
  }
}

/** errno.h and lmdb.h; a write that stops half-way because the disk is full is an EIO of lmdb. */
const ENOSPC = 28;
const EDQUOT = 122;
const EIO = 5;
const MDB_MAP_FULL = -30792;

function saysFull(error: unknown, dir: string): boolean {
  const { code } = error as { code?: unknown };
  return code === ENOSPC || code === EDQUOT || code === MDB_MAP_FULL || (code === EIO && freeBytesOf(dir) < 1024 * 1024);
}

function diskFull(dir: string, what: string, cause?: unknown): StatusError {
  const remedy = "free some room and try again (what was stored before is kept)";
  return statusError(Code.RESOURCE_EXHAUSTED, `${what} cannot be stored: the disk of ${dir} is full; ${remedy}`, cause);
}
