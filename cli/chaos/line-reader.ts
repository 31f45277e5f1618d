/** Follows a log while it is written. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** Whole lines that came in since the last call. */
export function lineReader(path: string): () => readonly string[] {
  let at = 0;
  let rest = "";
  return () => {
    let fd: number;
    try {
      fd = openSync(path, "r");
    } catch {
      return [];
    }
    try {
      const length = fstatSync(fd).size - at;
      if (length <= 0) return [];
      const bytes = Buffer.alloc(length);
      at += readSync(fd, bytes, 0, length, at);
      const lines = (rest + bytes.toString("utf8")).split("\n");
      rest = lines.pop() ?? "";
      return lines;
    } finally {
      closeSync(fd);
    }
  };
}
