/**
 * A book of what a data plane has made, one small file per cross-connect.
 *
 * Kernel objects end with the machine, so an entry must survive the death of this process, not of the machine: files are
 * replaced by rename and never synced. An entry is written before its objects are made ("begun") and becomes the valid
 * one afterwards ("committed"); what is found begun and not committed was interrupted.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasErrno } from "../../sdk/linux/system-error.js";

export interface LedgerEntry {
  /** What was valid last. */
  readonly committed: unknown;
  /** What was being made when the process ended. */
  readonly begun: unknown;
}

export interface Ledger {
  /** Everything in the book, by cross-connect id. Unreadable files are put aside and named in `unreadable`. */
  load(): { readonly entries: ReadonlyMap<string, LedgerEntry>; readonly unreadable: readonly string[] };
  /** Notes what is going to be made. @throws the file system's refusal: then nothing may be made */
  begin(id: string, value: unknown): void;
  /** What was begun is made. */
  commit(id: string): void;
  /** What was begun is not made, or has been taken away again. */
  abandon(id: string): void;
  /** Replaces a committed entry whose objects have not changed. */
  update(id: string, value: unknown): void;
  /** Notes that its objects are going to be taken away: from now on it counts as begun only. `commit` takes it back. */
  retire(id: string): void;
  remove(id: string): void;
}

const committedSuffix = ".json";
const begunSuffix = ".begun.json";
const partSuffix = ".part";

/** @throws the file system's refusal when the folder cannot be made */
export function openLedger(folder: string): Ledger {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const committedPath = (id: string): string => join(folder, `${fileName(id)}${committedSuffix}`);
  const begunPath = (id: string): string => join(folder, `${fileName(id)}${begunSuffix}`);
  return {
    load: () => load(folder),
    // Half written means that nothing has been made yet: no need to replace it as a whole.
    begin: (id, value) => writeOrRemove(begunPath(id), JSON.stringify({ id, value })),
    commit: (id) => renameSync(begunPath(id), committedPath(id)),
    abandon: (id) => removeFile(begunPath(id)),
    update(id, value) {
      const path = committedPath(id);
      writeOrRemove(`${path}${partSuffix}`, JSON.stringify({ id, value }));
      renameSync(`${path}${partSuffix}`, path);
    },
    retire: (id) => renameSync(committedPath(id), begunPath(id)),
    remove(id) {
      removeFile(begunPath(id));
      removeFile(committedPath(id));
    },
  };
}

/** What the ledger in a folder says, for a reader that is not its owner: nothing is moved or removed, what cannot be read is left out. */
export function peekLedger(folder: string): LedgerEntry[] {
  const entries = new Map<string, { committed: unknown; begun: unknown }>();
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const content = name.endsWith(committedSuffix) ? readWhole(join(folder, name)) : undefined;
    if (content === undefined) continue;
    const entry = entries.get(content.id) ?? { committed: undefined, begun: undefined };
    entries.set(content.id, { ...entry, [name.endsWith(begunSuffix) ? "begun" : "committed"]: content.value });
  }
  return [...entries.values()];
}

/** Ids come from the wire; their digest is a safe file name. */
function fileName(id: string): string {
  return createHash("sha256").update(id).digest("hex").slice(0, 40);
}

function writeOrRemove(path: string, content: string): void {
  try {
    writeFileSync(path, content, { mode: 0o600 });
  } catch (error) {
    removeFile(path);
    throw error;
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
  }
}

function load(folder: string): ReturnType<Ledger["load"]> {
  const entries = new Map<string, { committed: unknown; begun: unknown }>();
  const unreadable: string[] = [];
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (name.endsWith(partSuffix)) {
      removeFile(path);
      continue;
    }
    if (!name.endsWith(committedSuffix)) continue;
    const content = readWhole(path);
    if (content === undefined && name.endsWith(begunSuffix)) {
      removeFile(path);
      continue;
    }
    if (content === undefined) {
      renameSync(path, `${path}.unreadable`);
      unreadable.push(`${path}.unreadable`);
      continue;
    }
    const entry = entries.get(content.id) ?? { committed: undefined, begun: undefined };
    entries.set(content.id, { ...entry, [name.endsWith(begunSuffix) ? "begun" : "committed"]: content.value });
  }
  return { entries, unreadable };
}

function readWhole(path: string): { id: string; value: unknown } | undefined {
  try {
    const content: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof content !== "object" || content === null || !("id" in content) || !("value" in content)) return undefined;
    return typeof content.id === "string" ? { id: content.id, value: content.value } : undefined;
  } catch {
    return undefined;
  }
}
