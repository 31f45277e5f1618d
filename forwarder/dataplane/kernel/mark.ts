/**
 * The mark by which an interface, or a process, is provably one of a ledger, also when the ledger says nothing of it: a number
 * that is drawn once for a state directory. On interfaces it is the group (ip-link(8)), on processes a variable of their environment.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasErrno } from "../../../sdk/linux/system-error.js";

export const markVariable = "WEFT_LEDGER_MARK";
const fileName = "mark";
/** First byte of all marks; the other three are random. */
const prefix = 0x57;

export function isMark(group: number): boolean {
  return group >>> 24 === prefix;
}

/** The mark of a ledger that may be there; undefined: it has none. */
export function readMark(stateDir: string): number | undefined {
  try {
    const mark = Number(readFileSync(join(stateDir, fileName), "utf8"));
    return Number.isInteger(mark) && isMark(mark) ? mark : undefined;
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** The mark of the ledger in that directory, made when it has none. @throws the file system's refusal */
export function markOf(stateDir: string): number {
  const known = readMark(stateDir);
  if (known !== undefined) return known;
  const mark = (prefix << 24) | randomBytes(3).readUIntBE(0, 3);
  mkdirSync(stateDir, { recursive: true, mode: 0o750 });
  writeFileSync(join(stateDir, fileName), `${mark}\n`, { mode: 0o600 });
  return mark;
}
