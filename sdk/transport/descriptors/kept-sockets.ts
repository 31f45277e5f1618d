/**
 * Sockets of endpoints whose descriptors have come: kept open, because their only name here is that of the descriptor, and
 * a registry entry that bears it is used long after the call it came with. One descriptor per socket, so that the same
 * socket has the same url whoever names it and however often.
 */
import type { HeldFile } from "../../peer.js";

const maxKept = 4096;
/** Who registers comes back within minutes; one that has not been named for so long is closed. */
const keepMs = 60 * 60_000;

/** Least recently named first. */
const kept = new Map<string, { readonly file: HeldFile; readonly sinceMs: number }>();

/** Takes the file over, and gives the url under which it can be dialled here. */
export function keepSocket(file: HeldFile, nowMs = performance.now()): string {
  const key = `${file.dev}/${file.ino}`;
  const known = kept.get(key)?.file;
  if (known !== undefined) file.close();
  const stays = known ?? file;
  kept.delete(key);
  kept.set(key, { file: stays, sinceMs: nowMs });
  for (const [oldest, entry] of kept) {
    if (kept.size <= maxKept && entry.sinceMs > nowMs - keepMs) break;
    kept.delete(oldest);
    entry.file.close();
  }
  return `unix://${stays.path}`;
}

/** Closes all; for tests that count. */
export function forgetSockets(): void {
  for (const { file } of kept.values()) file.close();
  kept.clear();
}
