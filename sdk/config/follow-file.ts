/**
 * follow-file — the content of a file now and after each change.
 * Links are followed, because a mounted ConfigMap changes by swapping one; the file may be absent for a while.
 */

import { statSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";

/** How soon a change is seen at the latest, in milliseconds. */
const pollMs = 500;
/** A larger file is refused: nothing that belongs here is that long. */
export const maxFileBytes = 1024 * 1024;

export interface FollowedFile {
  /** Resolves when the first content (or absence) has been told. */
  readonly ready: Promise<void>;
  stop(): void;
}

/**
 * @param onContent  gets the text, or undefined while there is no file; called only when it has changed, one call after another
 * @param onProblem  the file is there and cannot be read
 */
export function followFile(
  path: string,
  onContent: (text: string | undefined) => void | Promise<void>,
  onProblem: (error: unknown) => void,
): FollowedFile {
  let told: { text: string | undefined } | undefined;
  let stopped = false;
  let reading = Promise.resolve();
  const read = async (): Promise<void> => {
    try {
      const text = await readOrAbsent(path);
      if (stopped || (told !== undefined && told.text === text)) return;
      told = { text };
      await onContent(text);
    } catch (error) {
      if (!stopped) onProblem(error);
    }
  };
  const changed = (): void => {
    // one after another, so that an older content never overtakes a newer one
    reading = reading.then(read);
  };
  // by polling: inotify tells nothing of files on network and overlay file systems, nor of links swapped above them. One
  // system call in this thread: Node's own watchFile wakes two threads and costs five times as much of an idle process
  let mark = markOf(path);
  const timer = setInterval(() => {
    const now = markOf(path);
    if (now === mark) return;
    mark = now;
    changed();
  }, pollMs);
  changed();
  return {
    ready: reading,
    stop() {
      stopped = true;
      clearInterval(timer);
    },
  };
}

/** Another one after each change that a file system shows. */
function markOf(path: string): string {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat === undefined ? "absent" : [stat.dev, stat.ino, stat.size, stat.mtimeMs, stat.ctimeMs].join();
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

async function readOrAbsent(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    if (size > maxFileBytes) throw new Error(`${path} has ${size} bytes, more than ${maxFileBytes}`);
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
