/**
 * A look at an lmdb file before it is mapped: lmdb trusts what it maps, and a damaged or cut-off file ends the whole
 * process with a signal. Layout: the first two pages hold the states to choose from (lmdb.h, MDB_meta of version 2).
 */
import { closeSync, fstatSync, openSync, readSync, rmSync } from "node:fs";

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
