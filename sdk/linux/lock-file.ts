/**
 * A lock that one process holds on a file, for directories that only one process may use (flock(2)). The kernel gives
 * it up when the process ends, however it ends; it works across namespaces and needs no room on the disk.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import koffi from "koffi";
import { Code, statusError } from "../status.js";
import { errnoNumber, systemError } from "./system-error.js";

const flock = koffi.load(null).func("int flock(int fd, int operation)");
const exclusive = 2;
const nonBlocking = 4;

/**
 * Takes the lock, or refuses at once.
 * @param purpose  what the lock guards, for the text of the refusal
 * @returns gives it up
 * @throws ALREADY_EXISTS when another holder lives (also in this process); Node's error when the file cannot be made
 */
export function lockFile(path: string, purpose: string): () => void {
  const fd = openSync(path, "a+", 0o640);
  if (flock(fd, exclusive | nonBlocking) < 0) {
    const error = koffi.errno();
    const holder = readFileSync(path, "utf8").slice(0, 20).trim();
    closeSync(fd);
    if (error !== errnoNumber("EWOULDBLOCK")) throw systemError(`lock ${path}`, error);
    const who = /^\d+$/.test(holder) ? `process ${holder}` : "another process";
    throw statusError(
      Code.ALREADY_EXISTS,
      `${purpose} is in use by ${who} (${path} is locked): stop it, or choose another directory`,
    );
  }
  noteHolder(path, fd);
  return () => closeSync(fd);
}

/** The holder's id is for people only: on a full disk it is left out. */
function noteHolder(path: string, fd: number): void {
  try {
    closeSync(openSync(path, "w"));
    writeSync(fd, `${process.pid}\n`);
  } catch {
    // the lock counts, not the note
  }
}
