/**
 * What a store does while its disk is full. lmdb writes several lines to standard error for every write that fails, and every client
 * of a mesh asks again; so the operator hears of it once from us, with the remedy, and lmdb is asked now and then whether it finds room
 * in its own file, or at once when the disk has become emptier. Whoever else asks meanwhile is refused without it.
 */
import { statfsSync } from "node:fs";
import type { Clock } from "../../sdk/clock.js";
import type { Log } from "../../sdk/telemetry/log.js";

export interface FullDisk {
  /**
   * Comes before `mayTry`: where there is little room one write at a time, so that of a crowd one finds the disk full and the others
   * hear of it. Ends the turn.
   */
  turn(): Promise<() => void>;
  /** Whether it is worth asking lmdb to write something new. */
  mayTry(): boolean;
  /** A write found no room. */
  found(): void;
  /** A write has reached the disk. */
  written(): void;
}

/** Pauses between tries while nothing says that there is room; each is twice the last one. */
const firstPauseMs = 1_000;
const longestPauseMs = 16_000;
/** So much more room than at the last failure is worth a try. */
const worthwhileBytes = 256 * 1024;

/** Less than this is little. */
const tightBytes = 1024 * 1024;

/** @param freeBytes  of the disk of `dir`, for whom may not use its reserve */
export function watchFullDisk(
  dir: string,
  { log, clock, freeBytes = freeBytesOf }: { readonly log: Log; readonly clock: Clock; readonly freeBytes?: typeof freeBytesOf },
): FullDisk {
  let full: { freeBytes: number; pauseMs: number; tryAtMs: number; refused: number } | undefined;
  let last = Promise.resolve();
  return {
    async turn() {
      if (freeBytes(dir) >= tightBytes) return () => {};
      const before = last;
      let end = (): void => {};
      last = new Promise((resolve) => {
        end = resolve;
      });
      await before;
      return end;
    },
    mayTry() {
      if (full === undefined) return true;
      const nowMs = clock.nowMs();
      if (nowMs < full.tryAtMs && freeBytes(dir) < full.freeBytes + worthwhileBytes) {
        full.refused += 1;
        return false;
      }
      full.pauseMs = Math.min(longestPauseMs, 2 * full.pauseMs);
      full.tryAtMs = nowMs + full.pauseMs;
      return true;
    },
    found() {
      if (full === undefined) {
        log.error(
          "the disk of the registry's store is full: what is new is refused, what is stored is kept; free some room there",
          {
            dir,
          },
        );
      }
      full = { pauseMs: firstPauseMs, tryAtMs: clock.nowMs() + firstPauseMs, refused: 0, ...full, freeBytes: freeBytes(dir) };
    },
    written() {
      if (full === undefined) return;
      log.info("the registry's store has room again", { dir, refused: full.refused });
      full = undefined;
    },
  };
}

export function freeBytesOf(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}
