/**
 * From the inode of a network namespace to a path that opens it.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";

/** Paths found before, by "dev/ino"; each is verified before it is given out. */
const found = new Map<string, string>();
const maxFound = 10_000;

/**
 * A path of that namespace: of the process `hintPid` (peer credentials), else a mount (what `ip netns` makes, which outlives
 * processes), else of any process. The scan of all processes costs about 3 ms and happens once per namespace.
 * Undefined: nothing visible from here has it.
 */
export function findNetns(dev: bigint, ino: bigint, hintPid?: number): string | undefined {
  const key = `${dev}/${ino}`;
  const known = found.get(key);
  if (known !== undefined && isNetns(known, dev, ino)) return known;
  found.delete(key);
  const path = searchNetns(dev, ino, hintPid);
  if (path !== undefined) {
    if (found.size >= maxFound) found.clear();
    found.set(key, path);
  }
  return path;
}

/** A path that no search would find: that of a descriptor which somebody has given to us. */
export function rememberNetns(dev: bigint, ino: bigint, path: string): void {
  if (found.size >= maxFound) found.clear();
  found.set(`${dev}/${ino}`, path);
}

function searchNetns(dev: bigint, ino: bigint, hintPid: number | undefined): string | undefined {
  if (hintPid !== undefined && hintPid > 0) {
    const path = `/proc/${hintPid}/ns/net`;
    if (isNetns(path, dev, ino)) return path;
  }
  for (const path of mountedNamespaces(ino)) if (isNetns(path, dev, ino)) return path;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const path = `/proc/${entry}/ns/net`;
    if (isNetns(path, dev, ino)) return path;
  }
  return undefined;
}

/** Mount points of that namespace in this mount namespace (proc_pid_mountinfo(5): root is "net:[INO]"). */
function* mountedNamespaces(ino: bigint): Generator<string> {
  for (const line of readFileSync("/proc/thread-self/mountinfo", "utf8").split("\n")) {
    if (!line.includes(` net:[${ino}] `)) continue;
    const path = line.split(" ")[4];
    // Spaces and the like are written as three octal digits.
    if (path !== undefined)
      yield path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  }
}

function isNetns(path: string, dev: bigint, ino: bigint): boolean {
  const stat = statIfThere(path);
  return stat !== undefined && stat.ino === ino && stat.dev === dev;
}

function statIfThere(path: string): { dev: bigint; ino: bigint } | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    // Another user's process, or one that ended meanwhile.
    return undefined;
  }
}
