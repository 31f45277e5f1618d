/**
 * A look at an lmdb file before it is mapped: lmdb trusts what it maps, and a damaged or cut-off file ends the whole
 * process with a signal. Layout: the first two pages hold the states to choose from (lmdb.h, MDB_meta of version 2).
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, rmSync, statSync, writeFileSync } from "node:fs";

const pageBytes = 4096;
const magic = 0xbeefc0de;
const version = 2;

/**
 * Removes a file that its maker never finished: nothing can have been stored in it.
 * @returns what is wrong with the file; undefined = it can be opened (or made)
 */
export function inspectLmdbFile(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return undefined;
    throw error;
  }
  const head = Buffer.alloc(2 * pageBytes);
  let bytes: number;
  try {
    bytes = fstatSync(fd).size;
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  if (bytes < head.length) {
    rmSync(path);
    rmSync(`${path}-lock`, { force: true });
    return undefined;
  }
  const states = [stateAt(head, 0), stateAt(head, pageBytes)].filter((state) => state !== undefined);
  const newest = states.sort((a, b) => (a.transaction < b.transaction ? 1 : -1))[0];
  if (newest === undefined) return "it is no lmdb file of this version";
  const needed = (newest.lastPage + 1n) * BigInt(newest.pageBytes);
  if (BigInt(bytes) < needed) return `it has ${bytes} bytes where its last state needs ${needed}: it was cut off`;
  return undefined;
}

/** One of the two states; undefined if there is none. */
function stateAt(head: Buffer, page: number) {
  if (head.readUInt32LE(page + 0x18) !== magic || head.readUInt32LE(page + 0x1c) !== version) return undefined;
  return {
    pageBytes: head.readUInt32LE(page + 0x30),
    lastPage: head.readBigUInt64LE(page + 0x90),
    transaction: head.readBigUInt64LE(page + 0x98),
  };
}

/** More than lmdb wants for its table of readers, which it maps. */
const lockBytes = 16 * 1024;

/**
 * Gives lmdb's lock file its room on the disk. lmdb would make a hole and map it, and writing into a hole on a full disk
 * ends the process (SIGBUS). Only for who has the store for himself.
 * @throws Node's ENOSPC on a full disk
 */
export function reserveLockFile(path: string): void {
  const lock = `${path}-lock`;
  if (existsSync(lock)) {
    const { size, blocks } = statSync(lock);
    if (size >= lockBytes && blocks * 512 >= size) return;
  }
  try {
    writeFileSync(lock, Buffer.alloc(lockBytes));
  } catch (error) {
    rmSync(lock, { force: true });
    throw error;
  }
}
